package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// origin is an upstream under our control: the memory floor, slowed down and broken at will.
type origin struct {
	*target
	control string
}

// asked is what reached the upstream.
type asked struct{ requests, bytes int64 }

// newOrigin starts an upstream that has the tree.
func (b *bench) newOrigin(ctx context.Context) (*origin, error) {
	folder, err := b.newFolder()
	if err != nil {
		return nil, err
	}
	t, control, err := startFloor(ctx, folder, "memory", b.tree)
	if err != nil {
		return nil, err
	}
	b.running = append(b.running, t.process)
	t.name = "origin"
	return &origin{t, control}, nil
}

// behave gives it another nature, such as "latency=50ms&bandwidth=100000000", and forgets what was asked before.
func (o *origin) behave(ctx context.Context, nature string) error {
	if _, err := o.post(ctx, "/nature?"+nature); err != nil {
		return err
	}
	_, err := o.counters(ctx)
	return err
}

// counters tells what was asked since the last time. Only a nature counts: without any, the origin is as fast as it can be.
func (o *origin) counters(ctx context.Context) (a asked, err error) {
	body, err := o.post(ctx, "/counters")
	if err != nil {
		return a, err
	}
	_, err = fmt.Fscan(body, &a.requests, &a.bytes)
	return a, err
}

func (o *origin) post(ctx context.Context, path string) (io.Reader, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.control+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, resp.Status, text)
	}
	return bytes.NewReader(text), err
}
