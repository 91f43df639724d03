package work

import (
	"slices"
	"sync"
	"time"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu     sync.Mutex
	more   *sync.Cond // a timer was set
	now    time.Time
	timers []timer
}

type timer struct {
	at   time.Time
	fire chan time.Time
}

func newClock() *clock {
	c := &clock{now: time.UnixMicro(time.Now().UnixMicro())}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := timer{at: c.now.Add(d), fire: make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	c.more.Broadcast()
	return t.fire
}

// pass waits until a timer is set that ends within d, and then moves the clock by d.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.now.Add(d)
	for !slices.ContainsFunc(c.timers, func(t timer) bool { return !t.at.After(end) }) {
		c.more.Wait()
	}
	c.move(end)
}

// jump moves the clock by d at once.
func (c *clock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(c.now.Add(d))
}

func (c *clock) move(end time.Time) {
	c.now = end
	c.timers = slices.DeleteFunc(c.timers, func(t timer) bool {
		if t.at.After(end) {
			return false
		}
		t.fire <- end
		return true
	})
}
