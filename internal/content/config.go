package content

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/serve/api"
)

// shownSteps is how many steps of an image's history are shown.
const shownSteps = 1000

// describeConfig fills in what an image's config tells (image specification, "Image Configuration"). Each field is read by itself: an
// odd one does not hide the others, and what is no config of an image tells nothing.
func describeConfig(data []byte, out *api.ImageConfig) {
	var top map[string]json.RawMessage
	if json.Unmarshal(data, &top) != nil {
		return
	}
	out.Created, out.Author = instant(top["created"]), read[string](top["author"])
	out.OS, out.Architecture, out.Variant = read[string](top["os"]), read[string](top["architecture"]), read[string](top["variant"])
	c := read[map[string]json.RawMessage](top["config"])
	out.User, out.WorkingDir, out.StopSignal = read[string](c["User"]), read[string](c["WorkingDir"]), read[string](c["StopSignal"])
	out.Entrypoint, out.Cmd, out.Env = read[[]string](c["Entrypoint"]), read[[]string](c["Cmd"]), read[[]string](c["Env"])
	out.ExposedPorts, out.Volumes = keys(c["ExposedPorts"]), keys(c["Volumes"])
	out.Labels = read[map[string]string](c["Labels"])
	steps := read[[]map[string]json.RawMessage](top["history"])
	for _, step := range steps[:min(len(steps), shownSteps)] {
		out.History = append(out.History, api.ImageStep{
			Created: instant(step["created"]), CreatedBy: read[string](step["created_by"]), Comment: read[string](step["comment"]),
			Author: read[string](step["author"]), EmptyLayer: read[bool](step["empty_layer"]),
		})
	}
}

// read is the zero value for what is not there or something else.
func read[T any](data json.RawMessage) (v T) {
	if len(data) == 0 || json.Unmarshal(data, &v) != nil {
		var none T
		return none
	}
	return v
}

func instant(data json.RawMessage) *time.Time {
	at, err := time.Parse(time.RFC3339Nano, read[string](data))
	if err != nil || at.Year() > 9999 || at.Year() < 1 {
		return nil
	}
	return &at
}

func keys(data json.RawMessage) []string {
	return slices.Sorted(maps.Keys(read[map[string]json.RawMessage](data)))
}
