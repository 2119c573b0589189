//go:build !failpoints

package main

import "wxplatform/token"

// custodyTimes are the times of token custody.
func custodyTimes() (token.Times, error) { return token.DefaultTimes(), nil }
