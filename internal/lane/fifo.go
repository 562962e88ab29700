package lane

// fifo is a queue in a ring buffer.
type fifo struct {
	buf         []turn
	first, size int
}

func (q *fifo) len() int { return q.size }

func (q *fifo) push(t turn) {
	if q.size == len(q.buf) {
		grown := make([]turn, max(16, 2*len(q.buf)))
		for i := range q.size {
			grown[i] = q.buf[(q.first+i)%len(q.buf)]
		}
		q.buf, q.first = grown, 0
	}
	q.buf[(q.first+q.size)%len(q.buf)] = t
	q.size++
}

func (q *fifo) pop() turn {
	t := q.buf[q.first]
	q.buf[q.first] = turn{}
	q.first = (q.first + 1) % len(q.buf)
	q.size--
	return t
}
