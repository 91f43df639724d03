package work_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-registry/weir/internal/work"
)

func TestSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Duration(0) // by which the clock on the wall was set; the monotonic one stays
		steady := work.Steady(func() time.Time {
			if ahead == 0 {
				return time.Now()
			}
			return time.Now().Round(0).Add(ahead)
		})
		began := time.Now().Round(0)
		want := func(passed time.Duration) {
			t.Helper()
			if got := steady().Sub(began); got != passed {
				t.Errorf("%v have passed, want %v", got, passed)
			}
		}
		want(0)
		time.Sleep(time.Hour)
		want(time.Hour)
		ahead = -30 * time.Minute
		want(30 * time.Minute) // set back: later is safe
	})
}
