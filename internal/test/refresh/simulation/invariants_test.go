package simulation_test

import "time"

// The invariants: one name for each kind of fault.
const (
	sentOnce      = "a refresh token is sent once"
	coordinated   = "a refresh token is spent through the coordinator"
	oneDo         = "there is one Do at a time for each token and process"
	reloadHeeded  = "what Reload says is heeded"
	newsKept      = "what a store has said is known"
	heldBack      = "a request is held back"
	seenThrough   = "a request is seen through"
	nothingLost   = "nothing that the issuer gave is lost"
	refusedStays  = "a refused set is not handed out"
	ownSession    = "nobody gets another's set"
	ownGrant      = "an answer belongs to its grant"
	staysOut      = "who is signed out stays out"
	reasonToEnd   = "a session ends for a reason"
	endIsTold     = "the end of a session is told"
	inOrder       = "sets come in the order of rotation"
	onceEach      = "OnRefresh sees a set once"
	reachesStore  = "a set reaches its caller's store"
	beforeReturn  = "OnRefresh runs before its caller returns"
	inTime        = "a call returns in time"
	mayLeave      = "who waits may leave"
	nobodyEarly   = "nobody is failed early"
	causeless     = "a failure has a cause"
	toldOnce      = "OnRefreshError is told what is returned"
	survives      = "a session goes on"
	nothingRuns   = "nothing is left running"
	secretFree    = "no token is in an error"
	askedOnce     = "an identity is asked for once"
	answersInside = "a call inside a callback is answered at once"
	quiet         = "a token that is good is not refreshed"
	retryTold     = "the error says how long the issuer wants nothing sent"
	goesOn        = "a known identity needs no user info endpoint"
)

// Times that the rules name.
const (
	patience  = 5 * time.Second
	pause     = 5 * time.Second
	longKept  = 24 * time.Hour
	tolerance = 10 * time.Millisecond
	slack     = 1500 * time.Millisecond // of a ticker that counts 250 ms
)
