// Command openapi checks answers of the platform against its OpenAPI document. It is a module of
// its own, so that the platform does not depend on the validator.
//
// Tests record the answers that they get (package internal/transcript). An answer is wrong if the
// document does not describe it: its status, its Content-Type, a body that breaks its schema, or a
// problem that the route does not list.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/getkin/kin-openapi/openapi3filter"
)

func main() {
	path := flag.String("document", "../../docs/openapi.json", "the OpenAPI document")
	folder := flag.String("transcript", "", "the folder with the recorded answers")
	flag.Parse()
	if err := run(os.Stdout, *path, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// run reads all answers in a folder, and fails if there are none or if one is wrong.
func run(out io.Writer, path, folder string) error {
	for _, kind := range []string{"text/html", "text/xml"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
	checker, err := load(path)
	if err != nil {
		return err
	}
	answers, err := readAll(folder)
	if err != nil {
		return err
	}
	if len(answers) == 0 {
		return fmt.Errorf("%s has no answers", folder)
	}
	wrong := map[string]int{} // how often, by what is wrong
	for _, a := range answers {
		if err := checker.check(a); err != nil {
			wrong[err.Error()]++
		}
	}
	for _, operation := range checker.unseen() {
		wrong["no test got an answer to "+operation]++
	}
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		fmt.Fprintf(out, "%s (%d times)\n", what, wrong[what])
	}
	fmt.Fprintf(out, "answers: %d checked against %d operations of the OpenAPI document, %d kinds of wrong ones\n", len(answers), len(checker.seen), len(wrong))
	if len(wrong) > 0 {
		return errors.New("some answers are not as the document says")
	}
	return nil
}
