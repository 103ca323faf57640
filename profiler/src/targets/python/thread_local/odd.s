# Functions that no compiler at hand makes: `same_*` return the thread-local, 8 bytes below the thread
# pointer or by its words in the data, and `other_*` return something else, or what nobody can tell.

	.macro function name
	.globl \name
	.type \name, @function
\name:
	.endm

	.section .tbss, "awT", @nobits
	.balign 8
first:	.zero 8
state:	.zero 8

	.text

function same_by_sum
	mov %fs:0, %rdx
	mov $-8, %rcx
	mov (%rdx,%rcx), %rax
	ret

function same_in_low_half
	mov $4, %ecx
	mov %fs:-12(%rcx), %r11
	mov %r11, %rax
	ret

function same_on_stack
	push %rbp
	mov %rsp, %rbp
	sub $32, %rsp
	mov %fs:-8, %rdx
	mov %rdx, -8(%rbp)
	movl $1, -16(%rbp)
	xor %edx, %edx
	mov -8(%rbp), %rax
	leave
	ret

function same_if_not_null
	mov %fs:-8, %rax
	cmp $0, %rax
	jne 1f
	ud2
1:	test %rax, %rax
	je 2f
	ret
2:	ud2

function same_by_jump
	jmp same_by_call

function same_by_call
	push %rax
	call same_by_sum
	pop %rcx
	ret

# What is compared is not null.
function other_if_one
	mov %fs:-8, %rax
	cmp $1, %rax
	jne 1f
	ud2
1:	ret

function other_if_equal
	mov %fs:-8, %rax
	mov %fs:-16, %rcx
	cmp %rcx, %rax
	jne 1f
	ud2
1:	ret

# The comparison is another one by then.
function other_if_changed
	mov %fs:-8, %rax
	test %rax, %rax
	add $1, %rcx
	jne 1f
	ud2
1:	ret

function other_if_unknown
	mov %fs:-8, %rax
	test %rdi, %rdi
	je 1f
	ret
1:	ret

function other_address
	mov %fs:0, %rax
	sub $8, %rax
	ret

function other_next_byte
	mov %fs:-8, %rax
	add $1, %rax
	ret

function other_behind_it
	mov %fs:-8, %rax
	mov 8(%rax), %rax
	ret

function other_half
	mov %fs:-8, %eax
	ret

function other_in_segment
	mov %gs:-8, %rax
	ret

function other_address_size
	addr32 mov %fs:-8(%eax), %rax
	ret

function other_odd
	mov %fs:-12, %rax
	ret

# Of the C library, and of nobody.
function other_above
	mov %fs:0x28, %rax
	ret

function other_below
	mov %fs:-24, %rax
	ret

# A word of the data that the loader does not fill for a thread-local.
function other_word
	mov word(%rip), %rax
	mov %fs:(%rax), %rax
	ret

function other_pair
	lea word(%rip), %rdi
	call *function@GOTPCREL(%rip)
	mov (%rax), %rax
	ret

function other_descriptor
	lea word(%rip), %rax
	call *(%rax)
	mov %fs:(%rax), %rax
	ret

# A call leaves nothing in this register.
function other_after_call
	mov %fs:-8, %rcx
	.byte 0x66
	lea state@tlsgd(%rip), %rdi
	.byte 0x66, 0x66, 0x48
	call __tls_get_addr@PLT
	mov %rcx, %rax
	ret

function other_overwritten
	push %rbp
	mov %rsp, %rbp
	sub $16, %rsp
	mov %fs:-8, %rdx
	mov %rdx, -8(%rbp)
	movl $1, -4(%rbp)
	mov -8(%rbp), %rax
	leave
	ret

function other_elsewhere
	mov %fs:-8, %rax
	mov %rax, word(%rip)
	ret

function other_return_address
	mov %fs:-8, %rax
	mov %rax, 8(%rsp)
	ret

function other_stack
	mov %fs:-8, %rax
	push %rax
	ret

function other_unbalanced
	mov %fs:-8, %rax
	add $8, %rsp
	ret

	.data
	.balign 8
word:	.quad -8
	.quad 0

	.section .note.GNU-stack, "", @progbits
