from actors.peer.ice_credentials import LETTERS, PWD_LEN, SESSION_LEN, UFRAG_LEN, draw_session


def test_a_session_is_as_the_wire_wants_it() -> None:  # signal spec 4.1
    drawn = draw_session(lambda length: bytes(range(7, 7 + length)))
    ufrag, pwd = drawn.credentials.ufrag, drawn.credentials.pwd.value.decode()
    assert (len(ufrag), len(pwd), len(drawn.id)) == (UFRAG_LEN, PWD_LEN, SESSION_LEN)
    assert set(ufrag) | set(pwd) <= set(LETTERS)


def test_letters_are_drawn_without_bias() -> None:
    every_byte = bytes(range(256))  # each equally often: so must each letter come
    drawn = draw_session(lambda length: bytes(length) if length == SESSION_LEN else every_byte)
    assert drawn.credentials.ufrag == LETTERS[:UFRAG_LEN]
    drawn = draw_session(lambda length: bytes([255] * (length - 1) + [1]))
    assert drawn.credentials.ufrag == LETTERS[1] * UFRAG_LEN  # 208 and above are drawn anew
