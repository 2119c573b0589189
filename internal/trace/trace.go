// Package trace reads which trace of a caller's a request belongs to.
package trace
