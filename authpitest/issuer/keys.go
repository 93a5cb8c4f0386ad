package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// loadKeys gives the server the keys of the file, or writes the server's own there.
func (i *issuer) loadKeys() error {
	path := i.opts.keys
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return i.saveKeys()
	case err != nil:
		return err
	}
	if err := i.srv.ImportKeys(data); err != nil {
		return fmt.Errorf("%s: %w; without the file there will be new keys", path, err)
	}
	return nil
}

// saveKeys replaces the file at once, so that none is left half written.
func (i *issuer) saveKeys() error {
	path := i.opts.keys
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, ".keys-*") // for the owner alone
	if err != nil {
		return err
	}
	_, err = file.Write(i.srv.ExportKeys())
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
