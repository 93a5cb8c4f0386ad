package signin

import (
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Record is one sign-in as it is stored. Times are seconds since the Unix epoch.
type Record struct {
	Tokens  authpi.TokenSet
	Subject string
	Begun   int64
	Seen    int64 // when it was written last
	// Replaced is when another sign-in of the same user took its place; 0: not.
	Replaced int64
	// OneSession says that the issuer has both in one session.
	OneSession bool
	Claims            // of the ID token at sign-in
	Before     string // keys of the records that this one replaced, with spaces between them

	steps []step // the last one has begun this sign-in
	raw   []byte // as read from the store
}

// recordVersion changes with what is packed.
const recordVersion = "2"

func (rec *Record) pack() []byte {
	t := &rec.Tokens
	packed := Pack(recordVersion, rec.Subject, number(rec.Begun), number(rec.Seen), number(rec.Replaced), number(rec.AuthTime),
		rec.ACR, rec.Before, packSteps(rec.steps),
		t.AccessToken, t.TokenType, number(t.ExpiresAt.Unix()), t.RefreshToken, t.IDToken, t.SubjectHint, t.Scope)
	if rec.OneSession {
		packed = appendPacked(packed, []string{oneSession})
	}
	return packed
}

// oneSession is at the end of the few records that need it.
const oneSession = "one session"

func unpackRecord(plain []byte) *Record {
	p := Unpack(plain)
	if p.Text() != recordVersion {
		return nil
	}
	rec := &Record{Subject: p.Text(), Begun: p.Number(), Seen: p.Number(), Replaced: p.Number()}
	rec.AuthTime, rec.ACR = p.Number(), p.Text()
	rec.Before, rec.steps = p.Text(), unpackSteps(p.Text())
	t := &rec.Tokens
	t.AccessToken, t.TokenType, t.ExpiresAt = p.Text(), p.Text(), time.Unix(p.Number(), 0).UTC()
	t.RefreshToken, t.IDToken, t.SubjectHint, t.Scope = p.Text(), p.Text(), p.Text(), p.Text()
	if p.rest != "" {
		rec.OneSession = p.Text() == oneSession
	}
	if !p.Whole() {
		return nil
	}
	return rec
}

// replacedLife is how long tabs that were under way may read a replaced sign-in.
const replacedLife = time.Minute

// maxBefore bounds the keys in Record.Before: a sign-out removes each from the store.
const maxBefore = 16

// expiry is when a record ends unless it is written again.
func (b *Book) expiry(rec *Record) time.Time {
	end := time.Unix(rec.Begun, 0).Add(b.lifetime)
	if idle := time.Unix(rec.Seen, 0).Add(b.idle); idle.Before(end) {
		end = idle
	}
	if soon := time.Unix(rec.Replaced, 0).Add(replacedLife); rec.Replaced != 0 && soon.Before(end) {
		end = soon
	}
	return end
}

// same compares what tells one set from another.
func same(a, b authpi.TokenSet) bool {
	return a.AccessToken == b.AccessToken && a.RefreshToken == b.RefreshToken
}
