package oidc

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

func TestKeysRotate(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	try := func() error {
		_, _, err := w.exchange("", w.issuer.token(w.clock.now(), nil))
		return err
	}
	for range 3 {
		if err := try(); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.issuer.questions(); n != 1 {
		t.Errorf("%d questions for three tokens", n)
	}
	w.issuer.rotate("k2")
	w.clock.forward(askEvery / 3)
	if e, ok := errors.AsType[*oci.Error](try()); !ok || e.Code != oci.CodeUnavailable || e.RetryAfter != askEvery-askEvery/3 {
		t.Errorf("a new key, a moment after the last question: %v", e)
	}
	w.clock.forward(askEvery)
	if err := try(); err != nil || w.issuer.questions() != 2 {
		t.Errorf("a new key: %v, %d questions", err, w.issuer.questions())
	}
	stranger := newIssuer(t)
	stranger.rotate("unknown")
	for range 20 {
		_, _, _ = w.exchange("", stranger.token(w.clock.now(), map[string]any{"iss": w.issuer.URL}))
	}
	if n := w.issuer.questions(); n != 2 {
		t.Errorf("%d questions: strangers decide how often the issuer is asked", n)
	}
	w.issuer.setDown(true)
	w.clock.forward(2 * keysFor)
	if err := try(); err != nil {
		t.Error("the issuer is down, and its keys are forgotten: ", err)
	}
}

func TestIssuerDown(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.issuer.setDown(true)
	token := w.issuer.token(w.clock.now(), nil)
	for range 5 {
		if _, _, err := w.exchange("", token); oci.ErrorCode(err) != oci.CodeUnavailable {
			t.Fatal(err)
		}
	}
	if n := w.issuer.questions(); n != 1 {
		t.Errorf("%d questions to an issuer that is down", n)
	}
	w.issuer.setDown(false)
	w.clock.forward(askEvery)
	if _, _, err := w.exchange("", token); err != nil {
		t.Error(err)
	}
}

// A rule may bring the issuer's keys: a cluster that cannot be reached is never asked.
func TestOwnKeys(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	w.issuer.mu.Lock()
	keys, err := json.Marshal(w.issuer.public())
	w.issuer.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	w.rule(func(r *access.TrustRule) { r.Keys = string(keys) })
	if _, _, err := w.exchange("", w.issuer.token(w.clock.now(), nil)); err != nil {
		t.Error(err)
	}
	w.issuer.rotate("k2")
	if _, _, err := w.exchange("", w.issuer.token(w.clock.now(), nil)); oci.ErrorCode(err) != oci.CodeUnauthorized {
		t.Error(err)
	}
	if n := w.issuer.questions(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
