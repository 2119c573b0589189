// Package faults kills, stops, cuts off and misleads real platform processes, and checks that
// nothing is lost: the invariants I1 to I7 of docs/custody.md. It has only tests, for Linux: make
// faults runs all scenarios; with the build tag alone the most significant ones run. The platforms
// are built with the tag failpoints, and with all times of token custody shortened.
package faults
