package simulation_test

import (
	"fmt"
	"time"
)

// history is what happens in one simulation: who is there, and what they do when. It is
// plain data, so that a failing one can be cut down step by step.
type history struct {
	seed  uint64
	setup setup
	steps []step // in the order of time
}

// setup is what stays the same throughout a history.
type setup struct {
	processes   int
	coordinated bool // the processes share a coordinator
	rotates     bool // the issuer's refresh tokens are single-use
	idTokens    bool // the issuer brings an ID token on refresh
	life        time.Duration
	buffer      time.Duration
	timeout     time.Duration // RefreshTimeout
	memory      time.Duration // RefreshMemory
	sessions    [][]homeSetup // for each session, where its tokens are kept
	revocation  bool          // the issuer has a revocation endpoint
	spentEnds   bool          // revoking a spent refresh token ends its session
	lease       time.Duration
	sameMoment  bool // some callers come at the very same moment, and really race
}

func (s setup) String() string {
	text := fmt.Sprintf("processes: %d, coordinated: %t, rotates: %t, ID tokens: %t, revocation endpoint: %t, revoking a spent token ends its session: %t\n",
		s.processes, s.coordinated, s.rotates, s.idTokens, s.revocation, s.spentEnds)
	text += fmt.Sprintf("life: %v, buffer: %v, timeout: %v, memory: %v\n", s.life, s.buffer, s.timeout, s.memory)
	for n, homes := range s.sessions {
		for i, h := range homes {
			text += fmt.Sprintf("home %s: %v, lag %v\n", homeName(n, i), h.kind, h.lag)
		}
	}
	return text
}

// homeSetup is one place that keeps a session's tokens.
type homeSetup struct {
	kind homeKind
	lag  time.Duration // how far its reads are behind its writes
}

// homeKind is how a place keeps tokens.
type homeKind uint8

const (
	cookie      homeKind = iota // no callbacks: what a call returns is kept
	blind                       // OnRefresh overwrites what is there, if anything is
	conditional                 // OnRefresh writes only over what comes before it in the order of rotation
	worker                      // none: two sources of the first process share one agent
)

func (k homeKind) String() string { return [...]string{"cookie", "blind", "conditional", "worker"}[k] }

// Grants are what a call asks for beside the tokens: nothing, or one of so many resources.
const (
	grants      = 16
	usualGrants = 4
)

// deed is what a step does.
type deed uint8

const (
	arrive deed = iota
	answerNext
	storeFails
	coordinatorFails
	userInfoFails
	keysFail
	keysLag
	signOut
	revoke
	kill
	stop
	jump
	deeds // how many there are
)

// callKind is which of the client's entrances a caller takes.
type callKind uint8

const (
	create  callKind = iota // CreateAgent
	refresh                 // Refresh, by name
	source                  // HTTPClient, which stays with its process
)

func (k callKind) String() string { return [...]string{"CreateAgent", "Refresh", "HTTPClient"}[k] }

// failure is how a store, the coordinator or an endpoint of the issuer fails for a while.
type failure uint8

const (
	works     failure = iota
	refuses           // an error at once
	readFails         // a store: reads only
	writeFails
	slow  // it takes seconds
	hangs // until the caller's context ends
	deaf  // it takes longer than anybody waits, whatever the context says
	mixes // a store: reads give another user's tokens
	loses // a coordinator: results are not kept
	lags  // a store: reads give an earlier set
)

var failureNames = [...]string{"works", "refuses", "fails to read", "fails to write", "is slow", "hangs", "is deaf", "mixes users up", "loses results", "lags"}

func (f failure) String() string { return failureNames[f] }

// step is one thing that happens. Fields that its deed does not need are zero.
type step struct {
	at      time.Duration
	deed    deed
	process int
	session int
	home    int
	call    callKind
	grant   int           // 0: what the session has
	stale   int           // so many sets have come since the caller loaded its tokens
	blindly bool          // the caller has no Reload
	nested  bool          // its Reload calls CreateAgent with the same tokens
	source  int           // which of the home's sources; two each are made from the same agent
	racing  bool          // at the same moment as the step before it
	cancel  time.Duration // after which the caller leaves; zero: never
	answer  int           // of the token endpoint, an index into answers
	count   int           // how many requests get it; by how many sets a store lags
	only    int           // the grant whose requests alone get it; -1: all
	fails   failure
	lasts   time.Duration
}

func (s step) String() string {
	switch s.deed {
	case arrive:
		return s.arrival()
	case answerNext:
		whom := ""
		if s.only >= 0 {
			whom = ", for grant " + grantName(s.only)
		}
		return fmt.Sprintf("the next %d answers within %v: %s%s", s.count, s.lasts, answers[s.answer].name, whom)
	case storeFails:
		how := s.fails.String()
		if s.fails == lags {
			how = fmt.Sprintf("lags by %d sets", s.count)
		}
		return fmt.Sprintf("store %s %s for %v", homeName(s.session, s.home), how, s.lasts)
	case coordinatorFails:
		return fmt.Sprintf("the coordinator %s for %v", s.fails, s.lasts)
	case userInfoFails, keysFail:
		return fmt.Sprintf("the endpoint of %s %s for %v", [2]string{"user info", "keys"}[truth(s.deed == keysFail)], s.fails, s.lasts)
	case keysLag:
		return fmt.Sprintf("the issuer signs with a new key, published after %v", s.lasts)
	case signOut:
		return fmt.Sprintf("sign-out at %s; the revocation endpoint %s", homeName(s.session, s.home), s.fails)
	case revoke:
		return fmt.Sprintf("RevokeToken of what is in %s; the revocation endpoint %s", homeName(s.session, s.home), s.fails)
	case kill:
		return "killed, and started again"
	case stop:
		return fmt.Sprintf("stopped for %v", s.lasts)
	default:
		return fmt.Sprintf("its clock jumps by %v", s.lasts)
	}
}

func (s step) arrival() string {
	text := fmt.Sprintf("%s with the tokens of %s, grant %s", s.call, homeName(s.session, s.home), grantName(s.grant))
	for _, part := range []struct {
		is   bool
		text string
	}{
		{s.stale > 0, fmt.Sprintf(", loaded %d sets earlier", s.stale)}, {s.blindly, ", without Reload"}, {s.nested, ", nested"},
		{s.source > 0, fmt.Sprintf(", source %d", s.source+1)}, {s.racing, ", at the same moment"},
	} {
		if part.is {
			text += part.text
		}
	}
	if s.cancel > 0 {
		text += fmt.Sprintf(", leaves after %v", s.cancel)
	}
	return text
}

func grantName(grant int) string {
	if grant == 0 {
		return "plain"
	}
	return string(rune('A' + grant))
}

func homeName(session, home int) string { return fmt.Sprintf("s%d.%c", session+1, 'a'+home) }
