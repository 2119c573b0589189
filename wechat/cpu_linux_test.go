package wechat

import (
	"time"

	"golang.org/x/sys/unix"
)

// spent returns the CPU time that the calling thread has used, which a busy machine does not
// stretch.
func spent() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Nano())
}
