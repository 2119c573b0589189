//go:build !failpoints

package main

import "wxplatform/token"

func custodyTimes() (token.Times, error) { return token.DefaultTimes(), nil }
