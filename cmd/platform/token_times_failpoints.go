//go:build failpoints

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"wxplatform/token"
)

// custodyTimes are the times of token custody. Only in the fault suite's build PLATFORM_TEST_TIMES
// may replace them: a token.Times as JSON, in nanoseconds.
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
