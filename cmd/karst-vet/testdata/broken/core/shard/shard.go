// Package shard does not compile.
package shard

var x int = "one" // want "det: does not compile"
