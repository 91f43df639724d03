package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// document is as much of a manifest or index as a pull needs.
type document struct {
	Manifests []struct {
		Digest   string
		Platform struct{ OS, Architecture string }
	}
	Config content
	Layers []content
}

type content struct {
	Digest string
	Size   int64
	URLs   []string
}

// pull gets the image's manifest, its config and its smallest layer, which is enough to see that bytes come and are right.
func (c *checker) pull(ctx context.Context) bool {
	name := "GET manifest, config and a layer of " + c.request.repo
	d, err := c.image(ctx)
	if err != nil {
		return c.failed(name, reason(err), "the manifest does not come although it is there: look at a proxy in between, and into the server's log")
	}
	wanted := []content{}
	if d.Config.Digest != "" {
		wanted = append(wanted, d.Config)
	}
	if layer, ok := smallest(d.Layers); ok {
		wanted = append(wanted, layer)
	}
	var come, of int64
	for _, w := range wanted {
		of += w.Size
	}
	for _, w := range wanted {
		far := func(n int64) {
			if come += n; c.probe.Far != nil {
				c.probe.Far(come, of)
			}
		}
		if err := c.blob(ctx, w.Digest, far); err != nil {
			return c.failed(name, reason(err), "the manifest comes and its content does not: look at a proxy in between (its limits on size and time), and into the server's log")
		}
	}
	return c.done(name, fmt.Sprintf("%d bytes, with the right digests", come))
}

// image is the manifest for a platform: this machine's on Linux, else the first one.
func (c *checker) image(ctx context.Context) (d document, err error) {
	reference := c.digest
	if reference == "" {
		reference = c.request.ref
	}
	if err := c.document(ctx, reference, &d); err != nil || len(d.Manifests) == 0 {
		return d, err
	}
	child := d.Manifests[0].Digest
	for _, m := range d.Manifests {
		if m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			child = m.Digest
			break
		}
	}
	d = document{}
	return d, c.document(ctx, child, &d)
}

func (c *checker) document(ctx context.Context, reference string, into *document) error {
	a, err := c.get(ctx, http.MethodGet, c.request.at("manifests", reference), c.asPuller)
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("manifest %s: %s", reference, status(a))
	}
	if digest, err := oci.ParseDigest(reference); err == nil && oci.DigestOf(digest.Algorithm(), a.body) != digest {
		return fmt.Errorf("manifest %s: other bytes came", reference)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("manifest %s: %w", reference, err)
	}
	return nil
}

// smallest is the smallest layer that the registry has itself.
func smallest(layers []content) (least content, ok bool) {
	for _, l := range layers {
		if len(l.URLs) == 0 && (!ok || l.Size < least.Size) {
			least, ok = l, true
		}
	}
	return least, ok
}

// pullTime bounds how long one blob may take.
const pullTime = 10 * time.Minute

// blob reads content to its end; where it is redirected to, the login does not go.
func (c *checker) blob(ctx context.Context, text string, far func(int64)) error {
	digest, err := oci.ParseDigest(text)
	if err != nil {
		return fmt.Errorf("the manifest names the digest %q, which is none", text)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.request.at("blobs", text), nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "weir-setup")
	c.asPuller(r)
	patient := http.Client{Transport: c.http.Transport, Timeout: pullTime, CheckRedirect: withoutLogin}
	resp, err := patient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("blob %s: %d %s", digest, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	h, err := oci.NewHash(digest.Algorithm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(h, counted{resp.Body, far}); err != nil {
		return err
	}
	if oci.SumDigest(digest.Algorithm(), h) != digest {
		return fmt.Errorf("blob %s: other bytes came", digest)
	}
	return nil
}

// withoutLogin lets a redirect go on without the login, which is not for where it leads.
func withoutLogin(r *http.Request, before []*http.Request) error {
	r.Header.Del("Authorization")
	if len(before) > 5 {
		return errors.New("too many redirects")
	}
	return nil
}

// counted tells of what is read.
type counted struct {
	r   io.Reader
	far func(int64)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.far(int64(n))
	return n, err
}
