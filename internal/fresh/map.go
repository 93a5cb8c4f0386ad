package fresh

import (
	"container/list"
	"sync"
	"time"
)

// Limits bound a Map. Both count at once.
type Limits struct {
	Entries int
	Bytes   int
}

// Map remembers a bounded number of values for a bounded time: until they expire, or
// newer ones need the room; the oldest leave first. It is safe for concurrent use
// and starts no goroutine: what has expired is dropped as others come and go.
type Map[K comparable, V any] struct {
	limits Limits
	now    func() time.Time

	mu    sync.Mutex // guards all below
	byKey map[K]*list.Element
	order list.List // oldest first
	bytes int
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	size   int
	expiry time.Time
}

// NewMap makes an empty Map that reads the time from now.
func NewMap[K comparable, V any](limits Limits, now func() time.Time) *Map[K, V] {
	return &Map[K, V]{limits: limits, now: now, byKey: make(map[K]*list.Element)}
}

// Get returns the value under key, unless it has expired.
func (m *Map[K, V]) Get(key K) (V, bool) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.byKey[key]
	if !ok {
		var none V
		return none, false
	}
	e := at.Value.(*entry[K, V])
	if !now.Before(e.expiry) {
		m.drop(at)
		var none V
		return none, false
	}
	return e.value, true
}

// Put remembers value under key until expiry. size is what it takes in bytes,
// counted against the limit; a value larger than the whole is not remembered.
func (m *Map[K, V]) Put(key K, value V, size int, expiry time.Time) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.byKey[key]; ok {
		m.drop(at)
	}
	if size > m.limits.Bytes || !now.Before(expiry) {
		return
	}
	m.byKey[key] = m.order.PushBack(&entry[K, V]{key, value, size, expiry})
	m.bytes += size
	for at := m.order.Front(); at != nil; at = m.order.Front() {
		e := at.Value.(*entry[K, V])
		if now.Before(e.expiry) && m.order.Len() <= m.limits.Entries && m.bytes <= m.limits.Bytes {
			return
		}
		m.drop(at)
	}
}

// Len is the number of values held, expired ones that nobody asked for included.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}

func (m *Map[K, V]) drop(at *list.Element) {
	e := m.order.Remove(at).(*entry[K, V])
	delete(m.byKey, e.key)
	m.bytes -= e.size
}
