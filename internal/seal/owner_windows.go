package seal

import "io/fs"

func giveTo(string, fs.FileInfo) error { return nil } // rights are those of the folder
