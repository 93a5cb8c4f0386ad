package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// tokenFile keeps one person's tokens, in a file for all their processes. It changes
// under a lock, and by renaming: who only reads needs no lock.
type tokenFile struct{ dir, name string }

// openTokenFile has another file for each issuer and client: nobody's refresh token
// goes to an issuer that did not make it.
func openTokenFile(dir, issuerURL, clientID string) (*tokenFile, error) {
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(base, "authpi-example")
	}
	digest := sha256.Sum256([]byte(issuerURL + "\n" + clientID))
	return &tokenFile{dir, filepath.Join(dir, hex.EncodeToString(digest[:8])+".json")}, os.MkdirAll(dir, 0o700)
}

// agent tells who is signed in. Tokens that are still good cost neither lock nor
// request; otherwise one process refreshes, and the others wait and find its tokens.
func (f *tokenFile) agent(ctx context.Context, client *authpi.IdpClient) (*authpi.Agent, error) {
	tokens, err := f.load(ctx)
	if err != nil {
		return nil, err
	}
	if time.Until(tokens.ExpiresAt) > time.Second {
		return client.CreateAgent(ctx, tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return client.CreateAgent(ctx, tokens, &authpi.AgentOptions{Reload: f.load, OnRefresh: f.save})
}

// load gives the stored tokens, and a zero set where nobody is signed in.
func (f *tokenFile) load(context.Context) (authpi.TokenSet, error) {
	data, err := os.ReadFile(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return authpi.TokenSet{}, nil
	}
	if err != nil {
		return authpi.TokenSet{}, err
	}
	return authpi.ParseTokenSet(data)
}

// save stores refreshed tokens, unless later ones are there: a process that was
// stopped for so long that it lost the lock must not store its set over them.
func (f *tokenFile) save(ctx context.Context, fresh authpi.TokenSet) error {
	stored, err := f.load(ctx)
	if err != nil || stored.ExpiresAt.After(fresh.ExpiresAt) {
		return err
	}
	return f.write(fresh)
}

// write replaces the file as a whole. os.CreateTemp makes files of mode 0600.
func (f *tokenFile) write(tokens authpi.TokenSet) error {
	temp, err := os.CreateTemp(f.dir, "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // if it is still there
	err = json.NewEncoder(temp).Encode(tokens)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), f.name)
}

// replace stores the tokens of a new sign-in, whatever was there.
func (f *tokenFile) replace(ctx context.Context, tokens authpi.TokenSet) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return f.write(tokens)
}

// remove signs out and gives the last tokens. A file that cannot be read is removed, too.
func (f *tokenFile) remove(ctx context.Context) (authpi.TokenSet, error) {
	unlock, err := f.lock(ctx)
	if err != nil {
		return authpi.TokenSet{}, err
	}
	defer unlock()
	last, _ := f.load(ctx)
	if err := os.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return authpi.TokenSet{}, err
	}
	return last, nil
}

// abandoned is when a lock counts as left behind: a refresh takes 30 s at most.
const abandoned = time.Minute

// lock waits until this process is the one that has created the lock file. That works
// on every system; a process that was killed blocks the others until the file is old.
func (f *tokenFile) lock(ctx context.Context) (unlock func(), err error) {
	name := f.name + ".lock"
	for {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			own, err := file.Stat()
			return func() {
				if now, err := os.Stat(name); err == nil && os.SameFile(own, now) { // and not another's by now
					_ = os.Remove(name)
				}
			}, errors.Join(err, file.Close())
		}
		leaving := runtime.GOOS == "windows" && errors.Is(err, fs.ErrPermission) // a file on its way out
		if !errors.Is(err, fs.ErrExist) && !leaving {
			return nil, err
		}
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(name)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
