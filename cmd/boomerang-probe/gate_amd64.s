#include "textflag.h"

// func compatGetpid() int32
// The number of getpid is 20 by the gate for 32-bit programs.
TEXT ·compatGetpid(SB), NOSPLIT, $0-4
	MOVL	$20, AX
	INT	$0x80
	MOVL	AX, ret+0(FP)
	RET
