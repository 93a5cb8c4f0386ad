package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Whoever pastes the blocks of a page one after the other has a package that compiles.
func TestBlocksCompileTogether(t *testing.T) {
	t.Parallel()
	sources := examples(t)
	for _, path := range append(pages(t), "../../README.md") {
		page := strings.TrimSuffix(filepath.Base(path), ".md")
		var blocks [][]string // the files that have each
		for _, block := range blocksOf(t, path) {
			if block[1] == "go" {
				blocks = append(blocks, having(sources, block[2]))
			}
		}
		if text, err := compileTogether(t, page, blocks); err != nil {
			t.Errorf("%s: %v\n%s", page, err, text)
		}
	}
}

var packageClause = regexp.MustCompile(`(?m)^package \w+$`)

// having returns the files that have a block.
func having(sources map[string]string, block string) (files []string) {
	for path, source := range sources {
		if strings.Contains(source, "\n"+flat(block)+"\n") {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	return files
}

// together returns the files of a page's blocks, with the rest of their packages, and
// nil where they are in one package already. Of package docs it takes those alone.
func together(blocks [][]string) map[string]bool {
	files, folders := map[string]bool{}, map[string]bool{}
	for _, candidates := range blocks {
		if len(candidates) == 0 {
			continue // TestBlocksAreCompiled says so
		}
		file := candidates[0]
		for _, candidate := range candidates {
			if folders[filepath.Dir(candidate)] {
				file = candidate
			}
		}
		folders[filepath.Dir(file)], files[file] = true, true
	}
	if len(folders) < 2 {
		return nil
	}
	delete(folders, filepath.Join("..", "docs"))
	for folder := range folders {
		whole, _ := filepath.Glob(filepath.Join(folder, "*.go"))
		for _, file := range whole {
			if !strings.HasSuffix(file, "_test.go") {
				files[file] = true
			}
		}
	}
	return files
}

// compileTogether compiles them as one package. It needs no folder: the package is in an
// overlay.
func compileTogether(t *testing.T, page string, blocks [][]string) (said []byte, err error) {
	t.Helper()
	files, dir, overlay := together(blocks), t.TempDir(), map[string]string{}
	if files == nil {
		return nil, nil
	}
	here, err := filepath.Abs("together")
	if err != nil {
		t.Fatal(err)
	}
	for file := range files {
		name := "page" + strings.NewReplacer("..", "", "/", "-").Replace(filepath.ToSlash(file))
		text := packageClause.ReplaceAllString(read(t, file), "package page")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(here, page, name)] = filepath.Join(dir, name)
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "./together/"+page).CombinedOutput()
}
