package conformance_test

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/weir-registry/weir/test/conformance"
)

// TestURL runs the suite against a registry somebody started.
func TestURL(t *testing.T) {
	url := os.Getenv("WEIR_CONFORMANCE_URL")
	if url == "" {
		t.Skip("set WEIR_CONFORMANCE_URL to test a running registry; the registries in this module run the suite in their own tests")
	}
	name := os.Getenv("WEIR_CONFORMANCE_NAME")
	if name == "" {
		name = "conformance/test"
	}
	name += "/" + strings.ToLower(rand.Text()[:8]) // the suite wants repositories nobody has pushed to
	conformance.Run(t, conformance.Config{
		URL: url, Name: name, MountName: os.Getenv("WEIR_CONFORMANCE_MOUNT_NAME"),
		Username: os.Getenv("WEIR_CONFORMANCE_USERNAME"), Password: os.Getenv("WEIR_CONFORMANCE_PASSWORD"),
	})
}
