package growth

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// builder makes the artifacts of one repository.
type builder struct {
	*generator
	repository *Repository
	base       int
}

const (
	layerType     = "application/vnd.oci.image.layer.v1.tar+gzip"
	signatureType = "application/vnd.dev.cosign.artifact.sig.v1+json"
)

// artifact makes the ith of n: of twenty sixteen are images, three indexes with two images, one is a chart. Every tenth is signed.
func (b *builder) artifact(i, n int) {
	days := historyDays * float64(n-i) / float64(n)
	at := b.at(days)
	var digest oci.Digest
	switch {
	case i%20 == 19:
		digest = b.manifest(at, manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.helm.config.v1+json", own: 1})
	case i%20 >= 16:
		amd := b.manifest(at, manifest{MediaType: oci.MediaTypeImageManifest, platform: "linux/amd64", own: b.o.Layers, shared: true})
		arm := b.manifest(at, manifest{MediaType: oci.MediaTypeImageManifest, platform: "linux/arm64", own: b.o.Layers, shared: true})
		digest = b.manifest(at, manifest{MediaType: oci.MediaTypeImageIndex, children: []oci.Digest{amd, arm}})
	default:
		digest = b.manifest(at, manifest{MediaType: oci.MediaTypeImageManifest, platform: "linux/amd64", own: b.o.Layers, shared: true})
	}
	tag := fmt.Sprintf("v1.%d.%d", i/10, i%10)
	b.tag(tag, digest, at, i)
	if i%10 == 0 {
		b.manifest(at, manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: signatureType, subject: digest, own: 1})
	}
	if b.random.IntN(2) == 0 {
		pulled := b.at(days * b.random.Float64())
		b.rows.pulls = append(b.rows.pulls, []any{b.repository.ID, oci.DigestBytes(digest), pulled, 1 + b.random.IntN(1000)})
	}
}

func (b *builder) tag(tag string, digest oci.Digest, at int64, i int) {
	r, d := b.repository, oci.DigestBytes(digest)
	r.Tags, r.Digest = append(r.Tags, tag), append(r.Digest, digest)
	b.rows.tags = append(b.rows.tags, []any{r.ID, tag, d, at, at, at})
	b.rows.admissions = append(b.rows.admissions, []any{r.ID, d, "tag", tag, at})
	for range 1 + i%2 { // every second tag moved once
		b.rows.history = append(b.rows.history, []any{b.db.ID(), r.ID, tag, d, 0, at})
	}
}

// manifest is what one is made of.
type manifest struct {
	MediaType, ArtifactType string
	platform                string
	subject                 oci.Digest
	children                []oci.Digest
	own                     int  // layers that nothing else has
	shared                  bool // and those of the repository's base image
}

type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    oci.Digest    `json:"digest"`
	Size      int64         `json:"size"`
	Platform  *oci.Platform `json:"platform,omitempty"`
}

// document is a manifest's payload.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// manifest adds a manifest with all that it refers to.
func (b *builder) manifest(at int64, m manifest) oci.Digest {
	doc := document{SchemaVersion: 2, MediaType: m.MediaType, ArtifactType: m.ArtifactType, Annotations: map[string]string{"org.example.number": fmt.Sprint(b.blobs)}}
	kinds := []string{}
	if m.children == nil {
		config := b.blob(at, "application/vnd.oci.image.config.v1+json", fmt.Sprint("own ", b.blobs), 6_000)
		doc.Config, kinds = &config, append(kinds, "config")
	}
	if m.shared {
		for layer := range baseLayers {
			doc.Layers = append(doc.Layers, b.blob(at, layerType, fmt.Sprint("base ", b.base, layer), 30_000_000))
		}
	}
	for range m.own {
		doc.Layers = append(doc.Layers, b.blob(at, layerType, fmt.Sprint("own ", b.blobs), 2_000_000))
	}
	for i, child := range m.children {
		platform := &oci.Platform{OS: "linux", Architecture: []string{"amd64", "arm64"}[i]}
		doc.Manifests = append(doc.Manifests, descriptor{oci.MediaTypeImageManifest, child, 1, platform})
	}
	if m.subject != "" {
		doc.Subject = &descriptor{MediaType: oci.MediaTypeImageManifest, Digest: m.subject, Size: 1}
	}
	payload, err := json.Marshal(doc)
	if err != nil {
		panic(err) // strings and numbers
	}
	digest := oci.DigestOf(oci.SHA256, payload)
	b.addManifest(at, m, doc, payload, digest)
	if doc.Config != nil {
		b.refer(digest, kinds[0], *doc.Config)
	}
	for i, layer := range doc.Layers {
		b.referAt(digest, 1+i, "layer", layer)
	}
	for i, child := range doc.Manifests {
		b.referAt(digest, i, "manifest", child)
	}
	return digest
}

func (b *builder) addManifest(at int64, m manifest, doc document, payload []byte, digest oci.Digest) {
	var subject, config any
	total := int64(len(payload))
	labels := "{}"
	if doc.Subject != nil {
		subject = oci.DigestBytes(doc.Subject.Digest)
		tag := strings.Replace(string(doc.Subject.Digest), ":", "-", 1)
		b.rows.admissions = append(b.rows.admissions, []any{b.repository.ID, oci.DigestBytes(digest), "subject", tag, at})
	}
	if doc.Config != nil {
		config = oci.DigestBytes(doc.Config.Digest)
		total += doc.Config.Size
	}
	for _, layer := range doc.Layers {
		total += layer.Size
	}
	if m.platform != "" {
		labels = fmt.Sprintf(`{"org.opencontainers.image.vendor":"acme","team":"team-%02d","build":"%d"}`, b.base, b.blobs)
	}
	annotations, err := json.Marshal(doc.Annotations)
	if err != nil {
		panic(err) // strings
	}
	b.made.Manifests++
	b.rows.manifests = append(b.rows.manifests, []any{
		b.repository.ID, oci.DigestBytes(digest), m.MediaType, m.ArtifactType, len(payload), payload, subject, config, total,
		m.platform, at, labels, string(annotations), at,
	})
	if b.repository.Cached {
		b.rows.cached = append(b.rows.cached, []any{b.repository.ID, oci.DigestBytes(digest), at})
	}
}

func (b *builder) refer(parent oci.Digest, kind string, d descriptor) { b.referAt(parent, 0, kind, d) }

func (b *builder) referAt(parent oci.Digest, position int, kind string, d descriptor) {
	b.rows.references = append(b.rows.references, []any{
		b.repository.ID, oci.DigestBytes(parent), position, oci.DigestBytes(d.Digest), kind, d.Size, d.MediaType,
	})
}

// blob adds a blob, linked into the repository. Its digest is that of its name: there are no bytes.
func (b *builder) blob(at int64, mediaType, name string, size int64) descriptor {
	sum := sha256.Sum256(fmt.Append(nil, "growth ", b.o.Seed, " ", name))
	digest := oci.Digest(fmt.Sprintf("sha256:%x", sum))
	cachedIn := int64(0)
	if b.repository.Cached {
		cachedIn = b.groupID
	}
	key := fmt.Sprintf("sha256/%x/%x.%s", sum[:1], sum, strings.Repeat("0", 26))
	if strings.HasPrefix(name, "own ") {
		b.blobs++
	}
	b.rows.blobs = append(b.rows.blobs, []any{oci.DigestBytes(digest), size, key, at})
	b.rows.links = append(b.rows.links, []any{b.repository.ID, oci.DigestBytes(digest), at, cachedIn})
	return descriptor{MediaType: mediaType, Digest: digest, Size: size}
}
