package main

import (
	"fmt"
	"strings"
	"testing"

	"wxplatform/tenant"
)

// The doctor's word about the public URL is what was measured.
func TestDoctorMeasuresTheJWT(t *testing.T) {
	t.Parallel()
	for characters := 12; characters < 100; characters++ {
		c := config{publicURL: "https://" + strings.Repeat("x", characters-len("https://"))}
		said := ""
		for _, f := range unusual(c) {
			if f.Check == "public-url" {
				said += f.EN + " " + f.ZH
			}
		}
		n := tenant.JWTLength(c.publicURL)
		if want := n > tenant.LongestComfortable; strings.Contains(said, fmt.Sprint(n)) != want || (said != "") != want {
			t.Errorf("a URL of %d characters, whose JWT has %d: got %q", characters, n, said)
		}
	}
}
