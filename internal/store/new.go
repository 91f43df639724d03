package store

type state struct{}
