package relay

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"wxplatform/internal/nearest"
	"wxplatform/wechat"
)

// Catalogue is the list of WeChat's APIs. It does not change after it was made, so it may be used
// by several goroutines at once.
type Catalogue struct {
	all    []API             // ordered by path and method
	byPath map[string][]API  // those that are relayed: neither switched off nor denied
	off    []API             // those that are
	folded map[string]string // every path by its form in lower case, also of those switched off
	sets   map[wechat.PermissionSet]SetName
}

// SetName is what WeChat calls a permission set. Either name is "" if it is not known.
type SetName struct{ English, Chinese string }

// Load returns the catalogue that is built into the program. It is read once.
func Load() (*Catalogue, error) { return builtIn() }

var builtIn = sync.OnceValues(func() (*Catalogue, error) {
	all, err := readCatalogue(catalogueTSV)
	if err != nil {
		return nil, fmt.Errorf("read catalogue.tsv: %w", err)
	}
	sets, err := readSets(setsTSV)
	if err != nil {
		return nil, fmt.Errorf("read sets.tsv: %w", err)
	}
	return newCatalogue(all, sets), nil
})

func newCatalogue(all []API, sets map[wechat.PermissionSet]SetName) *Catalogue {
	c := &Catalogue{all: all, byPath: map[string][]API{}, folded: map[string]string{}, sets: sets}
	for _, a := range all {
		a.scope = a.Scope()
		c.folded[strings.ToLower(a.Path)] = a.Path
		switch {
		case a.Off:
			c.off = append(c.off, a)
		case !c.Denied(a.Path): // a row that is denied is a mistake, and is never relayed
			c.byPath[a.Path] = append(c.byPath[a.Path], a)
		}
	}
	return c
}

// Find returns the API with exactly this method and path. There is none if it is switched off.
func (c *Catalogue) Find(method, path string) (API, bool) {
	for _, a := range c.byPath[path] {
		if a.Method == method {
			return a, true
		}
	}
	return API{}, false
}

// Resolve returns the API that a caller means by a method and a path. A path that the catalogue
// does not have, but that is below one of Roots, is an API of no family, which writes and
// needs the scope wechat:any. Resolve fails with ErrNotRelayed, ErrSwitchedOff, ErrUnknownAPI or a
// *MethodError.
func (c *Catalogue) Resolve(method, path string) (API, error) {
	api, found := c.Find(method, path)
	switch {
	case found:
		return api, nil
	case c.Denied(path):
		return API{}, ErrNotRelayed
	case c.isOff(method, path):
		return API{}, ErrSwitchedOff
	case len(c.Methods(path)) > 0:
		return API{}, &MethodError{c.Methods(path)}
	case !c.Below(path):
		return API{}, ErrUnknownAPI
	case method != "GET" && method != "POST":
		return API{}, &MethodError{[]string{"GET", "POST"}}
	}
	return API{Method: method, Path: path, Write: true, Body: RawBody, Answer: EitherAnswer, Sets: NotKnown, Certainty: Unsure}, nil
}

// isOff reports whether the operator switched off the API, or all of the path's.
func (c *Catalogue) isOff(method, path string) bool {
	return slices.ContainsFunc(c.off, func(a API) bool {
		return a.Path == path && (a.Method == method || c.byPath[path] == nil)
	})
}

// Methods returns the methods of a path, as the header Allow lists them, or nil if the path is not
// in the catalogue or is switched off.
func (c *Catalogue) Methods(path string) []string {
	var methods []string
	for _, a := range c.byPath[path] {
		methods = append(methods, a.Method)
	}
	return methods
}

// All returns every API, ordered by path and method, including those that are switched off. The
// caller must not change it.
func (c *Catalogue) All() []API { return c.all }

// SetName returns WeChat's names for a permission set.
func (c *Catalogue) SetName(set wechat.PermissionSet) SetName { return c.sets[set] }

// Named returns the APIs that an operator means by "/path", which are all its methods, or by
// "METHOD /path". If there are none, the error names the nearest path.
func (c *Catalogue) Named(text string) ([]API, error) {
	method, path, two := strings.Cut(strings.TrimSpace(text), " ")
	if !two {
		method, path = "", method
	}
	var named []API
	for _, a := range c.all {
		if a.Path == path && (method == "" || a.Method == method) {
			named = append(named, a)
		}
	}
	if named == nil {
		return nil, fmt.Errorf("the catalogue has no %q; the nearest is %s", text, c.nearest(path))
	}
	return named, nil
}

// Switched returns a catalogue in which the APIs off are not relayed, and those in unchecked are
// relayed whatever permission sets the merchant granted: WeChat decides.
func (c *Catalogue) Switched(off, unchecked []API) *Catalogue {
	if len(off)+len(unchecked) == 0 {
		return c
	}
	all := slices.Clone(c.all)
	for i := range all {
		all[i].Off = all[i].Off || among(off, all[i])
		if all[i].Sets == Required && among(unchecked, all[i]) {
			all[i].Sets, all[i].Unchecked = Guessed, true
		}
	}
	return newCatalogue(all, c.sets)
}

func among(apis []API, a API) bool {
	return slices.ContainsFunc(apis, func(b API) bool { return b.Method == a.Method && b.Path == a.Path })
}

// nearest returns the method and path of the API whose path differs least from path.
func (c *Catalogue) nearest(path string) string {
	paths := make([]string, len(c.all))
	for i, a := range c.all {
		paths[i] = a.Path
	}
	meant := nearest.Name(path, paths)
	return c.all[slices.Index(paths, meant)].Method + " " + meant
}
