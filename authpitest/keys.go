package authpitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

const (
	algES256 = "ES256"
	algRS256 = "RS256"
	algEdDSA = "EdDSA"
)

var algorithms = []string{algES256, algRS256, algEdDSA}

// key is one signing key. It never changes, and is made when it first signs or is
// published.
type key struct {
	id, alg string
	private func() crypto.Signer
}

// keyring holds every key the server ever had: withdrawn ones still check what comes
// back from clients.
type keyring struct {
	all       []*key
	published []*key // newest first
	current   map[string]*key
	rsaDrawn  int
}

func newKeyring() keyring {
	k := keyring{current: map[string]*key{}}
	k.rotate()
	k.rotate() // as AuthPI: the current and the previous key of each algorithm
	return k
}

func (k *keyring) rotate() {
	var fresh []*key
	for _, alg := range algorithms {
		nk := &key{id: newUUID(), alg: alg}
		switch alg {
		case algES256:
			nk.private = sync.OnceValue(newECDSA)
		case algEdDSA:
			nk.private = sync.OnceValue(newEd25519)
		case algRS256:
			nk.private = rsaPool[k.rsaDrawn%len(rsaPool)]
			k.rsaDrawn++
		}
		k.current[alg] = nk
		fresh = append(fresh, nk)
	}
	k.all = append(k.all, fresh...)
	k.published = append(fresh, k.published...)
}

// pick finds the key that kid names, if it fits alg, else the one that signs alg
// now, else the one that signs fallback.
func (k *keyring) pick(alg, kid, fallback string) *key {
	for _, c := range k.all {
		if c.id == kid && c.alg == alg {
			return c
		}
	}
	if c := k.current[alg]; c != nil {
		return c
	}
	return k.current[fallback]
}

func newECDSA() crypto.Signer {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func newEd25519() crypto.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic("authpitest: " + err.Error())
	}
	return private
}

func newRSA() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }

// rsaPool serves all servers of the process: one RSA key takes longer to make than
// all else that a test does. Key ids are never shared.
var rsaPool = [...]func() crypto.Signer{
	sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA),
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("authpitest: " + err.Error())
	}
	return v
}

// RotateKeys makes a new key for each algorithm, which signs from now on. The old
// ones stay published until [Server.WithdrawKeys].
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.rotate()
}

// WithdrawKeys takes all keys but the signing ones out of the JWKS.
func (s *Server) WithdrawKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.published = slices.Clone(s.keys.published[:len(algorithms)])
}

// KeyIDs returns the kids in the JWKS, in its order: the signing keys for ES256,
// RS256 and EdDSA, then older ones.
func (s *Server) KeyIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, k := range s.keys.published {
		ids = append(ids, k.id)
	}
	return ids
}

// ExportKeys returns the published keys with their private parts, as a JWK Set (RFC
// 7517), for [Server.ImportKeys]. Whoever has them can sign tokens as this issuer.
func (s *Server) ExportKeys() []byte {
	s.mu.Lock()
	published := s.keys.published
	s.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range published {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private(), KeyID: k.id, Algorithm: k.alg, Use: "sig"})
	}
	return mustJSON(set)
}

// ImportKeys replaces all keys by those that [Server.ExportKeys] returned, perhaps
// in another process. It returns an error, and changes nothing, if data is anything
// else.
func (s *Server) ImportKeys(data []byte) error {
	imported, err := readKeyring(data)
	if err != nil {
		return fmt.Errorf("authpitest: import keys: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = imported
	return nil
}

// readKeyring takes what ExportKeys wrote: one key of each algorithm, and again.
func readKeyring(data []byte) (keyring, error) {
	var set jose.JSONWebKeySet
	if json.Unmarshal(data, &set) != nil || len(set.Keys) == 0 || len(set.Keys)%len(algorithms) != 0 {
		return keyring{}, errors.New("not a JWK Set with as many keys of each algorithm") // a cause might quote a key
	}
	k := keyring{current: map[string]*key{}}
	for i, jwk := range set.Keys {
		alg := algorithms[i%len(algorithms)]
		private, ok := signer(jwk)
		known := slices.ContainsFunc(k.all, func(k *key) bool { return k.id == jwk.KeyID })
		if !ok || jwk.Algorithm != alg || jwk.KeyID == "" || known {
			return keyring{}, fmt.Errorf("key %d is no private %s key with a kid of its own", i+1, alg)
		}
		one := &key{id: jwk.KeyID, alg: alg, private: func() crypto.Signer { return private }}
		k.all = append(k.all, one)
		if k.current[alg] == nil {
			k.current[alg] = one
		}
	}
	k.published = slices.Clone(k.all)
	return k, nil
}

// signer returns the private key of a JWK whose type fits its algorithm.
func signer(jwk jose.JSONWebKey) (crypto.Signer, bool) {
	if !jwk.Valid() {
		return nil, false
	}
	switch private := jwk.Key.(type) {
	case *ecdsa.PrivateKey:
		return private, jwk.Algorithm == algES256 && private.Curve == elliptic.P256()
	case *rsa.PrivateKey:
		return private, jwk.Algorithm == algRS256
	case ed25519.PrivateKey:
		return private, jwk.Algorithm == algEdDSA
	}
	return nil, false
}

func (s *Server) jwks(*exchange) *answer {
	s.mu.Lock()
	published := s.keys.published
	s.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range published {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.private().Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig",
		})
	}
	a := jsonAnswer(http.StatusOK, set)
	a.header.Set("Cache-Control", "public, max-age=300")
	return a
}

// random returns 128 random bits as text.
func random() string {
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return encode(b[:])
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
