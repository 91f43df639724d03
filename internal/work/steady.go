package work

import "time"

// Steady is a clock for those who destroy what is old, and cannot ask the rows whether somebody needs it. It is never ahead of the time
// that has passed since now was called first: what was made a moment ago must not look old because the machine's clock was set ahead
// meanwhile. It may be behind, after a suspension of the machine for example: then they wait longer.
func Steady(now func() time.Time) func() time.Time {
	began := now()
	return func() time.Time {
		wall := now()
		passed := began.Round(0).Add(wall.Sub(began)) // by the monotonic clock, if there is one
		if wall = wall.Round(0); passed.Before(wall) {
			return passed
		}
		return wall
	}
}
