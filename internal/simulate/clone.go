package simulate

import (
	"reflect"
	"time"
	"unsafe"
)

// Restorer is a Simulator that can be put back to what it was, as a server whose
// database was restored from a backup.
type Restorer interface {
	// Mark keeps what the system holds now under a name; Restore puts it back, as
	// often as wanted. Requests that were seen, and faults, stay.
	Mark(name string)
	Restore(name string) error
}

// Replacer is a Restorer behind whose address another database can be put.
type Replacer interface {
	Restorer
	// Replace is Restore of a database that is another one by its own id.
	Replace(name string) error
}

// Clone copies a value with all that it points to, unexported fields included;
// two pointers to one thing are so in the copy too. Functions and channels, and
// what is of a type in keep, are not copied. It is for the state of simulators.
func Clone[T any](v T, keep ...any) T {
	c := cloner{seen: map[pointer]reflect.Value{}, keep: map[reflect.Type]bool{reflect.TypeFor[*time.Location](): true}}
	for _, k := range keep {
		c.keep[reflect.TypeOf(k)] = true
	}
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	from := reflect.New(reflect.TypeFor[T]()).Elem()
	from.Set(reflect.ValueOf(&v).Elem())
	c.copy(out, from)
	return out.Interface().(T)
}

// pointer tells things apart that begin at one address.
type pointer struct {
	at  unsafe.Pointer
	typ reflect.Type
}

type cloner struct {
	seen map[pointer]reflect.Value
	keep map[reflect.Type]bool
}

// copy sets to, which can be set, to a copy of from.
func (c *cloner) copy(to, from reflect.Value) {
	if c.keep[from.Type()] {
		to.Set(from)
		return
	}
	switch from.Kind() {
	case reflect.Pointer:
		if from.IsNil() {
			return
		}
		key := pointer{from.UnsafePointer(), from.Type()}
		if known, ok := c.seen[key]; ok {
			to.Set(known)
			return
		}
		fresh := reflect.New(from.Type().Elem())
		c.seen[key] = fresh
		c.copy(fresh.Elem(), from.Elem())
		to.Set(fresh)
	case reflect.Interface:
		if from.IsNil() {
			return
		}
		inner := reflect.New(from.Elem().Type()).Elem()
		// What is in an interface has no address; a copy of it has.
		held := reflect.New(from.Elem().Type()).Elem()
		held.Set(from.Elem())
		c.copy(inner, held)
		to.Set(inner)
	case reflect.Struct:
		for i := range from.NumField() {
			c.copy(open(to.Field(i)), open(from.Field(i)))
		}
	case reflect.Slice:
		if from.IsNil() {
			return
		}
		fresh := reflect.MakeSlice(from.Type(), from.Len(), from.Len())
		for i := range from.Len() {
			c.copy(fresh.Index(i), from.Index(i))
		}
		to.Set(fresh)
	case reflect.Array:
		for i := range from.Len() {
			c.copy(to.Index(i), from.Index(i))
		}
	case reflect.Map:
		if from.IsNil() {
			return
		}
		key := pointer{from.UnsafePointer(), from.Type()}
		if known, ok := c.seen[key]; ok {
			to.Set(known)
			return
		}
		fresh := reflect.MakeMapWithSize(from.Type(), from.Len())
		c.seen[key] = fresh
		for each := from.MapRange(); each.Next(); {
			fresh.SetMapIndex(c.value(each.Key()), c.value(each.Value()))
		}
		to.Set(fresh)
	default:
		to.Set(from)
	}
}

// value copies a value that has no address.
func (c *cloner) value(v reflect.Value) reflect.Value {
	from, to := reflect.New(v.Type()).Elem(), reflect.New(v.Type()).Elem()
	from.Set(v)
	c.copy(to, from)
	return to
}

// open makes a field readable and settable that is not exported.
func open(f reflect.Value) reflect.Value {
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}
