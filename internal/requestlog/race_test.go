//go:build race

package requestlog_test

// With the race detector, pools lose some of what they are given.
const poolsLose = 6
