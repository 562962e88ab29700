package call

import (
	"bytes"
	"io"
	"sync"
)

// bodies are buffers to read answers into: how long one is, is seldom told before.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keptBody is what a buffer that is used again has room for.
const keptBody = 256 << 10

// ReadBody reads the body of an answer, at most one byte more than most bytes:
// a longer result says that it was cut off.
func ReadBody(r io.Reader, most int64) ([]byte, error) {
	in := io.LimitReader(r, most+1)
	buf := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(io.LimitReader(in, keptBody)); err != nil || buf.Len() < keptBody {
		return bytes.Clone(buf.Bytes()), err
	}
	return io.ReadAll(io.MultiReader(buf, in))
}
