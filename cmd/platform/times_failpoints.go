//go:build failpoints

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"wxplatform/token"
)

// custodyTimes may be shortened as a whole in the fault suite's build only: PLATFORM_TEST_TIMES is a token.Times as JSON, in nanoseconds.
func custodyTimes() (token.Times, error) {
	times := token.DefaultTimes()
	text := os.Getenv("PLATFORM_TEST_TIMES")
	if text == "" {
		return times, nil
	}
	if err := json.Unmarshal([]byte(text), &times); err != nil {
		return times, fmt.Errorf("PLATFORM_TEST_TIMES: %w", err)
	}
	return times, nil
}
