package lane

// fifo is a queue in a ring buffer.
type fifo struct {
	buf         []*place
	first, size int
}

func (q *fifo) len() int { return q.size }

func (q *fifo) push(p *place) {
	if q.size == len(q.buf) {
		grown := make([]*place, max(16, 2*len(q.buf)))
		for i := range q.size {
			grown[i] = q.buf[(q.first+i)%len(q.buf)]
		}
		q.buf, q.first = grown, 0
	}
	q.buf[(q.first+q.size)%len(q.buf)] = p
	q.size++
}

func (q *fifo) pop() *place {
	p := q.buf[q.first]
	q.buf[q.first] = nil
	q.first = (q.first + 1) % len(q.buf)
	q.size--
	return p
}

// peek gives the first, which stays.
func (q *fifo) peek() *place { return q.buf[q.first] }
