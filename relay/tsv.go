package relay

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wxplatform/wechat"
)

// catalogueTSV has a line of names, then one line for each API, ordered by path and method. Columns
// are separated by tabs; "-" is an empty cell; a cell that is a list has commas.
//
//go:embed catalogue.tsv
var catalogueTSV string

// setsTSV has WeChat's names for the permission sets, in the same form.
//
//go:embed sets.tsv
var setsTSV string

const (
	catalogueColumns = "method path english chinese body answer op flags family kinds verification sets rule certainty source notes link"
	setsColumns      = "id english chinese"
)

// line is one line of a table, by the names of the columns.
type line map[string]string

// lines reads a table with these columns.
func lines(text, columns string) ([]line, error) {
	names := strings.Fields(columns)
	var all []line
	for i, written := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		cells := strings.Split(written, "\t")
		if len(cells) != len(names) || i == 0 && !slices.Equal(cells, names) {
			return nil, fmt.Errorf("line %d does not have the columns %q", i+1, columns)
		}
		if i > 0 {
			all = append(all, newLine(names, cells))
		}
	}
	return all, nil
}

func newLine(names, cells []string) line {
	l := line{}
	for i, name := range names {
		if cells[i] != "-" {
			l[name] = cells[i]
		}
	}
	return l
}

// list is the values of a cell that is a list.
func (l line) list(column string) []string {
	return strings.FieldsFunc(l[column], func(r rune) bool { return r == ',' })
}

func readCatalogue(text string) ([]API, error) {
	table, err := lines(text, catalogueColumns)
	if err != nil {
		return nil, err
	}
	var all []API
	for _, l := range table {
		a, err := l.api()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", l["method"], l["path"], err)
		}
		all = append(all, a)
	}
	return all, nil
}

// api is the API that a line of the catalogue describes.
func (l line) api() (API, error) {
	flags := l.list("flags")
	a := API{
		Method: l["method"], Path: l["path"], English: l["english"], Chinese: l["chinese"],
		Body: BodyKind(l["body"]), Answer: AnswerKind(l["answer"]), Write: l["op"] != "read",
		Safe: slices.Contains(flags, "safe"), SingleUse: slices.Contains(flags, "single-use"),
		Family: l["family"], OperatorOnly: slices.Contains(flags, "operator"),
		KindsSure: slices.Contains(flags, "kinds-sure"), Verified: Verification(l["verification"]),
		Sets: SetRule(l["rule"]), Certainty: Certainty(l["certainty"]), Source: l["source"], Notes: l["notes"], Link: l["link"],
	}
	for _, kind := range l.list("kinds") {
		a.Kinds = append(a.Kinds, Kind(kind))
	}
	for _, text := range l.list("sets") {
		set, err := strconv.Atoi(text)
		if err != nil {
			return API{}, err
		}
		a.AnyOf = append(a.AnyOf, wechat.PermissionSet(set))
	}
	return a, nil
}

func readSets(text string) (map[wechat.PermissionSet]SetName, error) {
	table, err := lines(text, setsColumns)
	names := map[wechat.PermissionSet]SetName{}
	for _, l := range table {
		set, notNumber := strconv.Atoi(l["id"])
		if notNumber != nil {
			return nil, notNumber
		}
		names[wechat.PermissionSet(set)] = SetName{English: l["english"], Chinese: l["chinese"]}
	}
	return names, err
}
