package lab_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/lab"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

// call asks the control door.
func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestControl changes what is wrong through the door that people use.
func TestControl(t *testing.T) {
	u, layer, url := newFake(t)
	door := u.URL() + "/_lab/"
	faults := func(method, body string, status int, want ...lab.Playing) {
		t.Helper()
		got, text := call(t, method, door+"faults", body)
		if got != status {
			t.Fatalf("%s %q: %d %s", method, body, got, text)
		}
		if status != 200 {
			return
		}
		var playing []lab.Playing
		if err := json.Unmarshal([]byte(text), &playing); err != nil || len(playing) != len(want) {
			t.Fatalf("%s %q: %s, want %v", method, body, text, want)
		}
		for i := range want {
			if playing[i] != want[i] {
				t.Errorf("%s %q: %v, want %v", method, body, playing[i], want[i])
			}
		}
	}
	faults("PUT", "# two\n503,retry-after=9,kind=blob,times=2\n\nno-digest", 200, lab.Playing{Fault: "503,retry-after=9,kind=blob,times=2"}, lab.Playing{Fault: "no-digest", Requests: -1})
	resp, _, err := get(t, url)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "9" {
		t.Errorf("%v, %v", resp, err)
	}
	faults("POST", "truncate,kind=blob,at=7", 200, lab.Playing{Fault: "truncate,kind=blob,at=7"}, lab.Playing{Fault: "503,retry-after=9,kind=blob,times=2", Requests: 1}, lab.Playing{Fault: "no-digest", Requests: -1})
	if _, got, err := get(t, url); err == nil || len(got) != 7 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	faults("PUT", "hang\nnonsense", 400)
	faults("GET", "", 200, lab.Playing{Fault: "truncate,kind=blob,at=7", Requests: 1}, lab.Playing{Fault: "503,retry-after=9,kind=blob,times=2", Requests: 1}, lab.Playing{Fault: "no-digest", Requests: -1})
	faults("PUT", strings.Repeat("hang\n", 101), 400)
	faults("POST", strings.Repeat("x", 1<<17), 400)
	faults("DELETE", "", 200)
	if _, got, err := get(t, url); err != nil || !bytes.Equal(got, layer.Bytes()) {
		t.Errorf("healed: %d bytes, %v", len(got), err)
	}
	for path, part := range map[string]string{
		"": "curl -X PUT", "images": `"team/app"`, "apply.yaml": "url: \"" + u.URL(), "requests": `"status": 503`,
	} {
		if status, text := call(t, "GET", door+path, ""); status != 200 || !strings.Contains(text, part) {
			t.Errorf("GET %s: %d %s", path, status, text)
		}
	}
	if status, _ := call(t, "GET", door+"nothing", ""); status != 404 {
		t.Errorf("GET nothing: %d", status)
	}
	call(t, "DELETE", door+"requests", "")
	if n := len(u.Counts()); n != 0 {
		t.Errorf("%d sorts of requests are left", n)
	}
}

// TestCounts: requests are counted although only the last ones are kept.
func TestCounts(t *testing.T) {
	u, err := lab.New(lab.Options{Remember: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	image := lab.RandomImage(1, 1, 1000)
	u.Put("a", []string{"1"}, image)
	for range 35 {
		get(t, u.URL()+"/v2/a/manifests/1")
	}
	get(t, u.URL()+"/v2/a/manifests/2")
	got := u.Counts()
	want := []lab.Count{
		{Method: "GET", Kind: lab.KindManifest, Status: 200, Requests: 35, Bytes: 35 * image.Manifest.Size},
		{Method: "GET", Kind: lab.KindManifest, Status: 404, Requests: 1, Bytes: 73},
	}
	if len(got) != 2 || got[0] != want[0] || got[1].Requests != 1 || len(u.Requests()) > 10 || u.Sent(image.Manifest.Digest) != want[0].Bytes {
		t.Errorf("%+v, %d kept", got, len(u.Requests()))
	}
}

// TestLines: each fault of the catalogue can be written, with each of its options.
func TestLines(t *testing.T) {
	u, _, _ := newFake(t)
	for _, e := range lab.Faults() {
		name := strings.Replace(e.Name, "<status>", "503", 1)
		if err := u.Play(name); err != nil {
			t.Error(err)
		}
		for _, o := range e.Options {
			value := "1"
			if _, err := time.ParseDuration(o.Default); err == nil && o.Default != "0" || strings.Contains(o.Meaning, "time that") {
				value = "1s"
			}
			if err := u.Play(name + "," + o.Name + "=" + value); err != nil {
				t.Error(err)
			}
			if value == "1s" || strings.HasPrefix(o.Default, "1") {
				if err := u.Play(name + "," + o.Name + "=x"); err == nil {
					t.Errorf("%s takes x as its %s", name, o.Name)
				}
			}
		}
		if err := u.Play(name + ",kind=blob,times=1"); (err == nil) == e.Whole {
			t.Errorf("%s for blobs alone: %v", name, err)
		}
	}
	for _, line := range []string{"", "hang,at", "hang,at=-1", "hang,at=99999999999999999", "hang,kind=x", "399", "600", "latency,by=25h", "latency,by=0s", "no-digest,times=1", "hang,times=-1"} {
		if err := u.Play(line); (err == nil) != (line == "") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestTags: moved and deleted tags.
func TestTags(t *testing.T) {
	u, _, _ := newFake(t)
	other := registrytest.RandomImage(2, 1, 10)
	u.Put("team/app", []string{"b"}, other)
	ask := func(path string) string {
		t.Helper()
		resp, body, err := get(t, u.URL()+"/v2/team/app/"+path)
		if err != nil || resp.StatusCode != 200 {
			return ""
		}
		return string(body)
	}
	play := func(line string) {
		t.Helper()
		if err := u.Play(line); err != nil {
			t.Fatal(err)
		}
	}
	play("tag-moved,reference=a")
	if ask("manifests/a") != string(other.Manifest.Payload) || ask("manifests/b") != string(other.Manifest.Payload) {
		t.Error("a has not moved to the image of b")
	}
	play("tag-deleted,reference=a")
	if ask("manifests/a") != "" || ask("manifests/b") == "" || ask("tags/list") != `{"name":"team/app","tags":["b"]}` {
		t.Errorf("a is still there: %s", ask("tags/list"))
	}
	play("tag-deleted")
	if ask("manifests/b") != "" || ask("tags/list") != `{"name":"team/app","tags":[]}` || ask("manifests/"+string(other.Manifest.Digest)) == "" {
		t.Errorf("all tags: %s", ask("tags/list"))
	}
}

// TestExpiry: tokens and signed URLs end when they should.
func TestExpiry(t *testing.T) {
	u, _, url := newFake(t)
	if err := u.Play("redirect,uses=-1"); err != nil {
		t.Fatal(err)
	}
	resp, _, _ := get(t, url)
	if resp, _, _ := get(t, resp.Header.Get("Location")); resp.StatusCode != 403 {
		t.Errorf("a URL without uses: %d", resp.StatusCode)
	}
	if err := u.Play("redirect,life=1ns", "bearer,life=1ns,announced=1h"); err != nil {
		t.Fatal(err)
	}
	_, body, _ := get(t, u.URL()+"/token?service=registry.test&scope=repository:team/app:pull")
	var token struct {
		Token   string
		Expires int `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &token); err != nil || token.Expires != 3600 {
		t.Fatalf("token: %s", body)
	}
	if resp, _, _ := get(t, url, "Authorization", "Bearer "+token.Token); resp.StatusCode != 401 {
		t.Errorf("an expired token: %d", resp.StatusCode)
	}
}

// TestSample: the same flags make the same images.
func TestSample(t *testing.T) {
	make := func(s lab.Sample) []lab.ImageInfo {
		t.Helper()
		u, err := lab.New(lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = u.Close() }()
		if err := u.Fill(s); err != nil {
			t.Fatal(err)
		}
		return u.Images()
	}
	s := lab.Sample{Repositories: 2, Tags: 2, Layers: 2, LayerSize: 100, Seed: 1}
	one, two := make(s), make(s)
	s.Seed = 2
	three := make(s)
	if len(one) != 6 {
		t.Errorf("%d tags", len(one))
	}
	for i := range one {
		if one[i] != two[i] || one[i].Digest == three[i].Digest || i > 0 && one[i].Digest == one[0].Digest {
			t.Errorf("%v, %v, %v", one[i], two[i], three[i])
		}
	}
	u, _, _ := newFake(t)
	for _, bad := range []lab.Sample{{}, {Repositories: 1, Tags: 1, Layers: 128}, {Repositories: 1000, Tags: 1000, Layers: 1}, {Repositories: 1, Tags: 1, Layers: 1, LayerSize: 1 << 40}} {
		if err := u.Fill(bad); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
}

// TestIPv6 listens on ::1 alone.
func TestIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6 loopback address")
	} else {
		_ = l.Close()
	}
	u, err := lab.New(lab.Options{Listen: "[::1]:0", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	if !strings.HasPrefix(u.URL(), "https://[::1]:") || !strings.HasPrefix(u.StorageURL(), "https://[::1]:") || !strings.Contains(u.CA(), "CERTIFICATE") {
		t.Error(u.URL(), u.StorageURL())
	}
}
