package app

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/serve"
)

// newTrail makes the trail of pulls; nil when it is off.
func (s *server) newTrail() *audit.Trail {
	if !s.config.Audit.Pulls {
		return nil
	}
	return audit.New(audit.Options{DB: s.db, HandOn: handsOn(s.config), Group: s.groupID, Log: s.log, Metrics: s.metrics.Audit})
}

// groupID is that of a group in force, 0 when there is none.
func (s *server) groupID(name string) int64 {
	if g := s.live.named(name); g != nil {
		return g.ID
	}
	return 0
}

// recorder is what a Front tells of requests.
func (s *server) recorder() serve.Recorder {
	if s.trail == nil {
		return nil
	}
	return s.trail
}

// keeper is what happens to the trail later.
func (s *server) keeper() *audit.Keeper {
	c := s.config.Audit
	return audit.NewKeeper(s.db, audit.KeeperOptions{
		Log: s.log, Sealer: s.sealer, KeepChanges: time.Duration(c.KeepChanges), KeepPulls: time.Duration(c.KeepPulls), KeepAccess: time.Duration(c.KeepAccess),
		Sink: auditSink(c.Sink), SinkKinds: c.SinkKinds, Metrics: s.metrics.Audit,
	})
}

// checkSinkKinds refuses what would choose nothing.
func checkSinkKinds(c config.Config) error {
	for _, pattern := range c.Audit.SinkKinds {
		if len(audit.Kinds(audit.Changes, pattern)) == 0 && len(audit.Kinds(audit.Pulls, pattern)) == 0 {
			all := append(audit.Kinds(audit.Changes, "*"), audit.Kinds(audit.Pulls, "*")...)
			return fmt.Errorf("audit.sink_kinds: no kind of event is like %q: there are %s", pattern, strings.Join(all, ", "))
		}
	}
	return nil
}

// handsOn reports whether events go to another system, too.
func handsOn(c config.Config) bool { return c.Audit.Sink != config.SinkNone }

func auditSink(where string) io.Writer {
	switch where {
	case config.SinkNone:
		return nil
	case config.SinkStdout:
		return os.Stdout
	}
	return audit.File{Path: where}
}
