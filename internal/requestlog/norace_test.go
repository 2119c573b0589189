//go:build !race

package requestlog_test

const poolsLose = 0
