// Package mut is empty.
package mut
