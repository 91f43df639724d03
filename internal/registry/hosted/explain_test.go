package hosted

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// TestTroubleBelow: a full disk and a database that is down are not internal errors; clients come back.
func TestTroubleBelow(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{blob.ErrFull, "no space left for uploads"},
		{&pgconn.PgError{Code: "53100"}, "no space left for uploads"},
		{&pgconn.PgError{Code: "57P01"}, "the database does not answer"},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "the database does not answer"},
	} {
		e, ok := errors.AsType[*oci.Error](explain(fmt.Errorf("start an upload: %w", c.err), errName, "start upload to", "app"))
		if !ok || e.Code != oci.CodeUnavailable || e.RetryAfter <= 0 || !strings.Contains(e.Message, c.says) {
			t.Errorf("%v: %v, want %q", c.err, e, c.says)
		}
	}
}
