// Package faults kills, stops, cuts off and misleads real platforms, and checks that nothing is lost: the invariants I1 to I7 of custody.
// It is tests only, on Linux: make faults runs all scenarios; with the tag alone the most telling ones are run. The platforms are built with the tag failpoints, and with the times of custody shortened as a whole.
package faults
