package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

type size struct {
	what  string
	lines int
}

// TestShape prints the tail of file and function sizes. It is a report, not a gate: what drifts into the tail is for a
// reader to judge.
func TestShape(t *testing.T) {
	var files, funcs []size
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "query" || d.Name() == ".git" || d.Name() == ".tools") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		files = append(files, size{rel, set.File(file.Pos()).LineCount()})
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
				funcs = append(funcs, size{rel + ": " + f.Name.Name, n})
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	report(t, "files above 450 lines", files, 450)
	report(t, "functions above 70 lines", funcs, 70)
}

func report(t *testing.T, title string, all []size, above int) {
	sort.Slice(all, func(i, j int) bool { return all[i].lines > all[j].lines })
	t.Logf("%s (of %d):", title, len(all))
	for _, s := range all {
		if s.lines <= above {
			break
		}
		t.Logf("  %5d  %s", s.lines, s.what)
	}
}
