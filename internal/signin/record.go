package signin

import (
	"strconv"
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
	Claims          // of the ID token at sign-in
	Recent   string // guard that has begun this sign-in, and its page
	Failed   string // guard whose login did not bring what it asked for
	Before   string // key of the record that this one replaced

	raw []byte // as read from the store
}

func (rec *Record) pack() []byte {
	tokens, _ := rec.Tokens.MarshalJSON() // texts and a number
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return append(Pack("1", rec.Subject, number(rec.Begun), number(rec.Seen), number(rec.Replaced), number(rec.AuthTime),
		rec.ACR, rec.Recent, rec.Failed, rec.Before), tokens...)
}

func unpackRecord(plain []byte) *Record {
	p, stored, ok := Unpack(plain, 10)
	if !ok || p[0] != "1" {
		return nil
	}
	tokens, err := authpi.ParseTokenSet(stored)
	if err != nil {
		return nil
	}
	number := func(text string) int64 {
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	return &Record{
		Tokens: tokens, Subject: p[1], Begun: number(p[2]), Seen: number(p[3]), Replaced: number(p[4]),
		Claims: Claims{p[6], number(p[5])}, Recent: p[7], Failed: p[8], Before: p[9],
	}
}

// replacedLife is how long tabs that were under way may read a replaced sign-in.
const replacedLife = time.Minute

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
