package fs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-registry/weir/internal/store/blob"
)

// List reads one folder at a time: a 256th of the objects of an algorithm. Files that are not objects are passed over.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		w := walk{ctx: ctx, root: s.root, prefix: prefix, after: after, yield: yield}
		w.folder("", 0)
	}
}

// objectDepth is how many folders lie above an object: algorithm and two digits.
const objectDepth = 2

type walk struct {
	ctx           context.Context
	root          string
	prefix, after string
	yield         func(blob.Info, error) bool
}

// folder yields what is below a folder; false ends the walk. Entries come in byte order of names, and names on one level
// are of one length or differ before their end, so keys come in order too.
func (w *walk) folder(key string, depth int) bool {
	entries, err := os.ReadDir(filepath.Join(w.root, filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		w.yield(blob.Info{}, translate("list", key, err))
		return false
	}
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			w.yield(blob.Info{}, err)
			return false
		}
		name := key + e.Name()
		goOn := true
		switch {
		case depth < objectDepth && e.IsDir():
			name += "/"
			if w.mayHold(name) {
				goOn = w.folder(name, depth+1)
			}
		case depth == objectDepth && name > w.after && strings.HasPrefix(name, w.prefix):
			goOn = w.object(name, e)
		}
		if !goOn {
			return false
		}
	}
	return true
}

// mayHold reports whether a folder can hold keys that are asked for.
func (w *walk) mayHold(folder string) bool {
	if folder == "stage/" || (!strings.HasPrefix(folder, w.prefix) && !strings.HasPrefix(w.prefix, folder)) {
		return false
	}
	return folder > w.after || strings.HasPrefix(w.after, folder)
}

func (w *walk) object(key string, e fs.DirEntry) bool {
	if _, _, err := blob.ParseKey(key); err != nil || !e.Type().IsRegular() {
		return true
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return true // deleted meanwhile
	}
	if err != nil {
		return w.yield(blob.Info{}, translate("list", key, err))
	}
	return w.yield(blob.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil)
}

// stageBatch is how many entries of a folder of stages are read at a time.
const stageBatch = 256

// Stages implements blob.Store.
func (s *Store) Stages(ctx context.Context) iter.Seq2[blob.StageInfo, error] {
	return func(yield func(blob.StageInfo, error) bool) {
		for _, c := range stageFolders {
			if !stagesIn(ctx, filepath.Join(s.root, "stage", string(c)), yield) {
				return
			}
		}
	}
}

// stagesIn yields the stages in a folder; false ends the walk.
func stagesIn(ctx context.Context, folder string, yield func(blob.StageInfo, error) bool) bool {
	f, err := os.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		yield(blob.StageInfo{}, translate("list stages in", folder, err))
		return false
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(stageBatch)
		if !yieldStages(ctx, entries, yield) {
			return false
		}
		if err == io.EOF {
			return true
		}
		if err != nil {
			yield(blob.StageInfo{}, translate("list stages in", folder, err))
			return false
		}
	}
}

func yieldStages(ctx context.Context, entries []fs.DirEntry, yield func(blob.StageInfo, error) bool) bool {
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			yield(blob.StageInfo{}, err)
			return false
		}
		if !blob.ValidID(e.Name()) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			yield(blob.StageInfo{}, translate("list", "stages", err))
			return false
		}
		if !yield(blob.StageInfo{ID: e.Name(), Size: info.Size(), Modified: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// DropStage implements blob.Store.
func (s *Store) DropStage(ctx context.Context, id string) error {
	if !blob.ValidID(id) {
		return nil
	}
	return remove(ctx, "drop stage", id, s.stagePath(id))
}
