package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"sync"
	"time"
)

// puller is a client that pulls an image as containerd does: HEAD by tag, the manifest by digest, three blobs at a time.
type puller struct {
	client        *http.Client
	base          string // URL of the repository
	authorization string
}

// pulled is how a pull went.
type pulled struct {
	seconds  float64
	firstBig float64 // milliseconds from the start to the first byte of the largest blob
}

func (p puller) image(ctx context.Context, i image) (pulled, error) {
	began := time.Now()
	if err := p.get(ctx, http.MethodHead, "/manifests/"+i.tags[0], i.manifest, nil); err != nil {
		return pulled{}, err
	}
	if err := p.get(ctx, http.MethodGet, "/manifests/"+i.manifest.digest, i.manifest, nil); err != nil {
		return pulled{}, err
	}
	var out pulled
	var once sync.Once
	last := len(i.blobs) - 1 // the largest; it must not wait until all others are there, nor come before them
	err := parallel(ctx, 3, len(i.blobs), func() (func(context.Context, int) error, func(), error) {
		return func(ctx context.Context, n int) error {
			var first func()
			if n == last {
				first = func() { once.Do(func() { out.firstBig = milliseconds(time.Since(began)) }) }
			}
			return p.get(ctx, http.MethodGet, "/blobs/"+i.blobs[n].digest, i.blobs[n], first)
		}, func() {}, nil
	})
	out.seconds = time.Since(began).Seconds()
	return out, err
}

// get asks for something and checks every byte of it. first, if set, is called with the first byte.
func (p puller) get(ctx context.Context, method, path string, want content, first func()) error {
	r, err := http.NewRequestWithContext(ctx, method, p.base+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", acceptManifest)
	if p.authorization != "" {
		r.Header.Set("Authorization", p.authorization)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
		return &statusError{method + " " + path, resp.StatusCode, text}
	}
	if d := resp.Header.Get("Docker-Content-Digest"); d != want.digest && (d != "" || method == http.MethodHead) {
		return fmt.Errorf("%s %s: digest %q, want %s", method, path, d, want.digest)
	}
	if method == http.MethodHead {
		return nil
	}
	buffer := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buffer)
	sum, size := uint32(0), 0
	for {
		n, err := resp.Body.Read(buffer[:])
		if n > 0 && first != nil {
			first()
		}
		sum, size = crc32.Update(sum, castagnoli, buffer[:n]), size+n
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%s %s: after %d bytes: %w", method, path, size, err)
		}
	}
	if size != len(want.bytes) || sum != want.sum {
		return fmt.Errorf("%s %s: %d bytes of %d, or wrong ones", method, path, size, len(want.bytes))
	}
	return nil
}
