//go:build !linux

package wechat

import "time"

var began = time.Now()

// spent returns the time that has passed: here the CPU time of one thread is unknown.
func spent() time.Duration { return time.Since(began) }
