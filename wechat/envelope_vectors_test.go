package wechat

// The keys of the public examples. All but keyE have bits set in the last character that mean
// nothing.
const (
	keyA = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	keyB = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
	keyE = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

type vector struct {
	name, token, key string
	component        AppID
	random           string
	push             Push
	msg              string
}

// vectors are WeChat's own examples and those of public SDKs.
var vectors = []vector{
	{
		name: "A1 short text", token: "pamtest", key: keyA, component: "wxb11529c136998cb6", random: "aaaabbbbccccdddd",
		push: Push{
			Timestamp: "1409304348", Nonce: "xxxxxx", Signature: "82c962d39941aa48552f90ef55aa323dc620cc10",
			Encrypt: "jn1L23DB+6ELqJ+6bruv21Y6MD7KeIfP82D6gU39rmkgczbWwt5+3bnyg5K55bgVtVzd832WzZGMhkP72vVOfg==",
		},
		msg: `我是中文abcd123`,
	},
	{
		name: "A2 long text", token: "pamtest", key: keyA, component: "wxb11529c136998cb6", random: "aaaabbbbccccdddd",
		push: Push{
			Timestamp: "1409304348", Nonce: "xxxxxx", Signature: "ea88b765074e41eb8c7a75b449db34fa2fd560d5",
			Encrypt: "jn1L23DB+6ELqJ+6bruv23M2GmYfkv0xBh2h+XTBOKVKcgDFHle6gqcZ1cZrk3e1qjPQ1F4RsLWzQRG9udbKWesxlkupqcEcW7ZQweImX9+wLMa0GaUzpkycA8+IamDBxn5loLgZpnS7fVAbExOkK5DYHBmv5tptA9tklE/fTIILHR8HLXa5nQvFb3tYPKAlHF3rtTeayNf0QuM+UW/wM9enGIDIJHF7CLHiDNAYxr+r+OrJCmPQyTy8cVWlu9iSvOHPT/77bZqJucQHQ04sq7KZI27OcqpQNSto2OdHCoTccjggX5Z9Mma0nMJBU+jLKJ38YB1fBIz+vBzsYjrTmFQ44YfeEuZ+xRTQwr92vhA9OxchWVINGC50qE/6lmkwWTwGX9wtQpsJKhP+oS7rvTY8+VdzETdfakjkwQ5/Xka042OlUb1/slTwo4RscuQ+RdxSGvDahxAJ6+EAjLt9d8igHngxIbf6YyqqROxuxqIeIch3CssH/LqRs+iAcILvApYZckqmA7FNERspKA5f8GoJ9sv8xmGvZ9Yrf57cExWtnX8aCMMaBropU/1k+hKP5LVdzbWCG0hGwx/dQudYR/eXp3P0XxjlFiy+9DMlaFExWUZQDajPkdPrEeOwofJb",
		},
		msg: `<xml><ToUserName><![CDATA[oia2Tj我是中文jewbmiOUlr6X-1crbLOvLw]]></ToUserName><FromUserName><![CDATA[gh_7f083739789a]]></FromUserName><CreateTime>1407743423</CreateTime><MsgType><![CDATA[video]]></MsgType><Video><MediaId><![CDATA[eYJ1MbwPRJtOvIEabaxHs7TX2D-HV71s79GUxqdUkjm6Gs2Ed1KF3ulAOA9H1xG0]]></MediaId><Title><![CDATA[testCallBackReplyVideo]]></Title><Description><![CDATA[testCallBackReplyVideo]]></Description></Video></xml>`,
	},
	{
		name: "B sealed echo", token: "QDG6eK", key: keyB, component: "wx5823bf96d3bd56c7", random: "c41b64491c2468d0",
		push: Push{
			Timestamp: "1409659589", Nonce: "263014780", Signature: "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
			Encrypt: "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
		},
		msg: `1616140317555161061`,
	},
	{
		name: "C text message", token: "spamtest", key: keyA, component: "wx2c2769f8efd9abc2", random: "89465c840c5f116f",
		push: Push{
			Timestamp: "1409735669", Nonce: "1320562132", Signature: "5d197aaffba7e9b25a30732f161a50dee96bd5fa",
			Encrypt: "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHFVAFmOD2LdJF9FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVticbSnyU8dKOIbgU6ux5VTjg3yt+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpAe+77TszTfRd5RJSVO/HTnifJpXgCSUdUue1v6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCumEPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE=",
		},
		msg: `<xml><ToUserName><![CDATA[gh_10f6c3c3ac5a]]></ToUserName>
<FromUserName><![CDATA[oyORnuP8q7ou2gfYjqLzSIWZf0rs]]></FromUserName>
<CreateTime>1409735668</CreateTime>
<MsgType><![CDATA[text]]></MsgType>
<Content><![CDATA[abcdteT]]></Content>
<MsgId>6054768590064713728</MsgId>
</xml>`,
	},
	{
		name: "D second text message", token: "spamtest", key: keyA, component: "wx2c2769f8efd9abc2", random: "78b55f1d91440c6b",
		push: Push{
			Timestamp: "1410349438", Nonce: "298025754", Signature: "003fee52ecc56afb46c00b5c7721be87860ce785",
			Encrypt: "mfBCs65c67CeJw22u4VT2TD73q5H06+ocrAIxswCaeZ/d/Lw0msSZFHY0teqgSYiI1zR2gD2DKrB3TIrmX/liNSDrGqS8jSI/WPeKB5VPr7Ezr7gomZAyGCwJSgT1TRFWPfONGJMxuj2nk4faTuspAuVIFQ6SHwZuJBZC7mcJp7Cgr9cUhATQWDbOPaE7ukZBTV2YqyzH+UI2AK+J1S47cE79k1RX8t0hcTz/O0hlK8DGXKnvYv88qKQcI7z4iaajqHfRVZKBNyOODabs+It+ZfM3dWTeFcPgDbGtIEnpt/EDtuuA/zMvtkaKdHdswPnVZQ+xdwbYr3ldGvfT8HlEYEgkgKaThxTFobVlwzu2ZkXCjicbP3xdr15Iq48ObgzPpqYuZ3IEoyggZDKClquk0u0orMck4GTF/XyE8yGzc4=",
		},
		msg: `<xml><ToUserName><![CDATA[gh_10f6c3c3ac5a]]></ToUserName>
<FromUserName><![CDATA[oyORnuP8q7ou2gfYjqLzSIWZf0rs]]></FromUserName>
<CreateTime>1410349438</CreateTime>
<MsgType><![CDATA[text]]></MsgType>
<Content><![CDATA[abcdteT]]></Content>
<MsgId>6057404712141979648</MsgId>
</xml>`,
	},
	{
		name: "E component push", token: "AAAAA", key: keyE, component: "wx134c8103faa5a59e", random: "1205899eaf019bbd",
		push: Push{
			Timestamp: "1715943329", Nonce: "1590219412", Signature: "6c12a4205838198b8fa631b3220723bb07f1015c",
			Encrypt: "D7yzvUNAL930rd28wf21s4hvXhz0L6Uit/p2Di6C5DHyYGpEgdBRnKjBec34JwoQXicwaZC7fOVihW80F4VtsdvE//1vr7oAbqjDv8KenVp+ajKYpJnyQ4zMRhIC+a31fCVOMC03FfzV/QuC94kBP55a+Za3sJgvAn+ZbsNqZI5DkyuzkhQN8OBqCzFhizGmy0xpM0MEA4agpvE+RuNO1rhHTtuJB5yltw1FiYzecSXJ+y/D2r81VkRn2eYjh2ltsoyfbDR7Is6ookXIFxTfyeNyeHxMeT4KN5WpCDmSbTcUYrbBUlkGLJ9n/rU8YOywma6G7aTb7KZKOqCxgfoUlYEZPk4FUL/TK7ShriFDMVCLyjQJ15Ob++agDWtcxhfUfe6HIoIpRW8mKNBQiY/Jd1svvuskA1wLef1RTtzKfMpagSCX/laZINmdnX4zrF6kIaR9P4xQrWXbsTFHTYe0Mg==",
		},
		msg: `<xml><ToUserName><![CDATA[gh_97417a04a28d]]></ToUserName>
<FromUserName><![CDATA[o9AgO5Kd5ggOC-bXrbNODIiE3bGY]]></FromUserName>
<CreateTime>1715943329</CreateTime>
<MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[debug_demo]]></Event>
<debug_str><![CDATA[hello world]]></debug_str>
</xml>`,
	},
	{
		name: "E reply", token: "AAAAA", key: keyE, component: "wx134c8103faa5a59e", random: "999951349e8ee746",
		push: Push{
			Timestamp: "1713424427", Nonce: "415670741", Signature: "03e0812039325c2712ef5f0f980fd14c70d6e307",
			Encrypt: "hE8R6mGXHkJJjU72KxzKUd1GEkKJaEZq7vRL8XgK3o+00k8JGq6+pZJUIlTSyhsX+bxIBQ72g3GyvDdIZcr6+3HAZbSvPT9t/o11MI7d6WELwqrGd7jMnV0zv3Zc9Nq7",
		},
		msg: `<xml><demo_resp>[CDATA[good luck]]</demo_resp></xml>`,
	},
	{
		name: "F pad of 21", token: "pamtest", key: keyA, component: "wxb11529c136998cb6", random: "d43123b161a4ba84",
		push: Push{
			Timestamp: "1458300676", Nonce: "260774613", Signature: "4f3ad57b6989f09f4eb392acce4f9e93942ed890",
			Encrypt: "rTNFcsut4LfGuAFKEUVVpwcaCOTJzOd9twZdIW910jb3k+iicx2uvhttIZ3Qg9Qgty3BEF2xbOrz6boTfb30dMomcgrkTqdFPwnhqbk+kIQ7rZiwny9D7NUrTgA5kpX3KsZvrXzUZyP2x9YOlxbgm572lmxKvM7HAQQhIQ/p6HBmoY30bGXFK0BtIu1pW9TjhOYrLQoU18nWYjWqDA1ynkmOytpv7QRI1P1+0NoxL0q2zO1DgeSvnE8CZGo/o5Ap/WHK5W2RAsinpzN4/LjPnmB6U01I5XCoJoC0GK/yMZycd2Oh8Nq6+wBkC1U85oy0ktOY4nLvsQMLrourmMGdZHuTbqpeJ8Ao/5PRYJ+WBvRUwPfGKBL2+2IKZF49vAJqkcGWSHGE76ZN2erXeuNazf/o9o3lIE3q739o4c8t9QGPe31GT2Go/rOz1BsrASwvauNulCh+++yz+CQzBIuikA==",
		},
		msg: `<xml><URL><![CDATA[http://wechat.laravel.so/server]]></URL><ToUserName><![CDATA[asdasdasd]]></ToUserName><FromUserName><![CDATA[asdasdasdsadasd]]></FromUserName><CreateTime>1234567898</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[hello]]></Content><MsgId>12345</MsgId></xml>`,
	},
	{
		name: "G component event", token: "pamtest", key: keyA, component: "wx134c8103faa5a59e", random: "0123456789abcdef",
		push: Push{
			Timestamp: "1715943000", Nonce: "123456", Signature: "97eba78e37df56055be87d1fd908912ed379520f",
			Encrypt: "Q3stYC6hdFzMh9T8HCvyDNeUphVuBmNmQ3TMWvUOiU7zw1fJx6PB23S7hDOTTqLXUrIrwoVGnz+5+IbBQvVxDEwYjFvm3OOWbHbgVBp0k0tEjGUirB5HE6uaXfmNi8TTEFO9IEhOzIse8FEEyWXp2o2GWMWPG8IaD86JH/jVdV0mFs/HuvUfdlUXAm9d0TINF+dYJ7aHRx2lE2yBq6bYPGKST7mX753gAN4FPL4TtYUjxe7GQoFlOo3wupH8xLBWZDwvTKKh60N4JEpCyrvEHdQRFYuCB+dF36rWuG7oU/MdH0cKQSbUhF1WVf9cCdeVHD+G7zZE/7bzLHKgGl9d62iLmcYbV4JBrRPexsHMHXehbncty/cg/6ekkxrpfFFo",
		},
		msg: `<xml><AppId><![CDATA[wx134c8103faa5a59e]]></AppId><CreateTime>1715943000</CreateTime><InfoType><![CDATA[component_verify_ticket]]></InfoType><ComponentVerifyTicket><![CDATA[ticket@@@EXAMPLE]]></ComponentVerifyTicket></xml>`,
	},
}
