package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// spread is the median of some rounds, with the lowest and the highest.
type spread struct{ median, lowest, highest float64 }

func spreadOf(rounds []round, value func(round) float64) spread {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = value(r)
	}
	return spreadOfValues(values)
}

func spreadOfValues(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

func (s spread) text(decimals int) string {
	return fmt.Sprintf("%.*f (%.*f–%.*f)", decimals, s.median, decimals, s.lowest, decimals, s.highest)
}

// ratios divides each round's CPU time by another program's in the same turn, so that other work on
// the machine affects both.
func ratios(rounds, bare []round) spread {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = r.cpu / bare[i].cpu
	}
	return spreadOfValues(values)
}

// printTable writes the Markdown that docs/performance.md shows.
func printTable(out io.Writer, programs []*program, turns [][]round) error {
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	lua := slices.IndexFunc(programs, func(p *program) bool { return p.name == luaName })
	_, _ = fmt.Fprintln(table, "| program\t| CPU µs a request\t| ratio\t| to nginx + Lua\t| requests/s\t| p50 ms\t| p99 ms\t| MB\t|")
	_, _ = fmt.Fprintln(table, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for i, p := range programs {
		column := func(decimals int, value func(round) float64) string { return spreadOf(turns[i], value).text(decimals) }
		toLua := ""
		if lua >= 0 {
			toLua = ratios(turns[i], turns[lua]).text(2)
		}
		_, _ = fmt.Fprintf(table, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n", p.name,
			column(0, func(r round) float64 { return r.cpu }), ratios(turns[i], turns[0]).text(2), toLua, column(0, func(r round) float64 { return r.rate }),
			column(1, func(r round) float64 { return r.p50 }), column(1, func(r round) float64 { return r.p99 }), column(0, func(r round) float64 { return r.memory }))
	}
	return table.Flush()
}
