package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/weir-registry/weir/internal/oci"
)

// how is the way in which a client sends a blob.
type how string

const (
	mono    how = "mono"    // POST, then PUT with all of it
	stream  how = "stream"  // POST, one PATCH of unknown length, PUT
	chunked how = "chunked" // POST, a PATCH for each 10 MiB, PUT
)

const chunkSize = 10 << 20

// pusher is a client that pushes, as registries' clients do: HEAD before each blob, three blobs at a time, the manifest last.
type pusher struct {
	client        *http.Client
	base          string // URL of the repository
	authorization string
	how           how
}

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10},
	}
}

// image pushes an image under its tags, or by digest if it has none.
func (p pusher) image(ctx context.Context, i image) error {
	err := parallel(ctx, 3, len(i.blobs), func() (func(context.Context, int) error, func(), error) {
		return func(ctx context.Context, n int) error { return p.blob(ctx, i.blobs[n]) }, func() {}, nil
	})
	if err != nil {
		return err
	}
	for _, tag := range i.tags {
		if err := p.manifest(ctx, i.manifest, tag); err != nil {
			return err
		}
	}
	return nil
}

func (p pusher) manifest(ctx context.Context, m content, reference string) error {
	_, err := p.send(ctx, http.MethodPut, p.base+"/manifests/"+reference, m.bytes, http.StatusCreated, header{"Content-Type", oci.MediaTypeImageManifest})
	return err
}

func (p pusher) blob(ctx context.Context, b content) error {
	_, err := p.send(ctx, http.MethodHead, p.base+"/blobs/"+b.digest, nil, http.StatusNotFound)
	if st, ok := errors.AsType[*statusError](err); ok && st.status == http.StatusOK {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := p.send(ctx, http.MethodPost, p.base+"/blobs/uploads/", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	octets := header{"Content-Type", oci.MediaTypeOctets}
	rest := b.bytes
	switch p.how {
	case stream:
		at, err = p.send(ctx, http.MethodPatch, at, struct{ io.Reader }{bytes.NewReader(rest)}, http.StatusAccepted, octets)
		rest = nil
	case chunked:
		for from := 0; from < len(b.bytes) && err == nil; from += chunkSize {
			to := min(from+chunkSize, len(b.bytes))
			at, err = p.send(ctx, http.MethodPatch, at, b.bytes[from:to], http.StatusAccepted, octets, header{"Content-Range", fmt.Sprintf("%d-%d", from, to-1)})
		}
		rest = nil
	}
	if err != nil {
		return err
	}
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("digest", b.digest)
	u.RawQuery = q.Encode()
	_, err = p.send(ctx, http.MethodPut, u.String(), rest, http.StatusCreated, octets)
	return err
}

type header struct{ name, value string }

// statusError is an answer with another status than the one expected.
type statusError struct {
	request string
	status  int
	text    []byte
}

func (e *statusError) Error() string { return fmt.Sprintf("%s: %d %s", e.request, e.status, e.text) }

// send returns the URL of the answer's Location.
func (p pusher) send(ctx context.Context, method, at string, body any, want int, headers ...header) (string, error) {
	var reader io.Reader
	switch b := body.(type) {
	case []byte:
		reader = bytes.NewReader(b)
	case io.Reader:
		reader = b
	}
	r, err := http.NewRequestWithContext(ctx, method, at, reader)
	if err != nil {
		return "", err
	}
	for _, h := range headers {
		r.Header.Set(h.name, h.value)
	}
	if p.authorization != "" {
		r.Header.Set("Authorization", p.authorization)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
	if resp.StatusCode != want {
		return "", &statusError{method + " " + at, resp.StatusCode, text}
	}
	location, err := resp.Location()
	if errors.Is(err, http.ErrNoLocation) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return location.String(), nil
}
