package mirror

import "github.com/maypok86/otter/v2"

// bounded is a cache of values of any type, under texts. byHash is the same, under hashes.
//
// Otter consists of thousands of generic functions. A package that only has a type with one of
// otter's in it compiles all of them again, which takes half a minute. So no other package can see
// one: the fields hide their types, no method has one in its signature, and none is generic or
// inlined.
type (
	bounded struct{ hidden any } // *otter.Cache[string, any]
	byHash  struct{ hidden any } // *otter.Cache[[32]byte, any]
)

func inBounded(b bounded) *otter.Cache[string, any] { return b.hidden.(*otter.Cache[string, any]) }

func inByHash(b byHash) *otter.Cache[[32]byte, any] { return b.hidden.(*otter.Cache[[32]byte, any]) }

//go:noinline
func newBounded(entries int) bounded {
	return bounded{otter.Must(&otter.Options[string, any]{MaximumSize: entries})}
}

//go:noinline
func (b bounded) resize(entries int) { inBounded(b).SetMaximum(uint64(entries)) }

//go:noinline
func (b bounded) len() int {
	inBounded(b).CleanUp()
	return inBounded(b).EstimatedSize()
}

//go:noinline
func (b bounded) get(key string) any {
	value, _ := inBounded(b).GetIfPresent(key)
	return value
}

//go:noinline
func (b bounded) set(key string, value any) { inBounded(b).Set(key, value) }

//go:noinline
func (b bounded) forget(key string) { inBounded(b).Invalidate(key) }

// peek is get without keeping the entry from being evicted.
//
//go:noinline
func (b bounded) peek(key string) any {
	entry, _ := inBounded(b).GetEntryQuietly(key)
	return entry.Value
}

// each calls do with all entries.
//
//go:noinline
func (b bounded) each(do func(key string, value any)) {
	for key, value := range inBounded(b).All() {
		do(key, value)
	}
}

// change replaces the value under key by what next returns for it; nil stands for none. If keep is
// true, everything stays as it is. No other change happens in between. change returns the value
// that is there then.
//
//go:noinline
func (b bounded) change(key string, next func(old any) (value any, keep bool)) any {
	now, _ := inBounded(b).Compute(key, func(old any, _ bool) (any, otter.ComputeOp) {
		value, keep := next(old)
		switch {
		case keep:
			return old, otter.CancelOp
		case value == nil:
			return old, otter.InvalidateOp
		}
		return value, otter.WriteOp
	})
	return now
}

//go:noinline
func newByHash(entries int) byHash {
	return byHash{otter.Must(&otter.Options[[32]byte, any]{MaximumSize: entries})}
}

//go:noinline
func (b byHash) resize(entries int) { inByHash(b).SetMaximum(uint64(entries)) }

//go:noinline
func (b byHash) len() int {
	inByHash(b).CleanUp()
	return inByHash(b).EstimatedSize()
}

//go:noinline
func (b byHash) get(key [32]byte) any {
	value, _ := inByHash(b).GetIfPresent(key)
	return value
}

//go:noinline
func (b byHash) set(key [32]byte, value any) { inByHash(b).Set(key, value) }

//go:noinline
func (b byHash) forget(key [32]byte) { inByHash(b).Invalidate(key) }
