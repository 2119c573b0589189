package main

import "math"

// The files that the process may need besides the public listener's connections.
const filesForOthers = 2*512 + // connections to WeChat, in two pools
	128 + // of streams
	16 + 32 + // to SQL and Redis
	64 + // of the operations listener
	64 // database files, listeners, the log, and those just being closed

const (
	mostConnections   = 8192 // more take too much memory if each carries a slow request
	enoughConnections = 1024 // below that, callers' idle connections are closed early
)

// publicConnections is how many connections the public listener may have open if the process may
// have so many files open. A quarter of the files is the least, even if the others run short then.
func publicConnections(files uint64) int {
	files = min(files, math.MaxInt32)
	return min(max(int(files)-filesForOthers, int(files)/4), mostConnections)
}
