"""zstd frames made without a library, so that their bytes never change with its version.

Blocks are raw or runs of one byte (RFC 8878, section 3.1.1.2); `STORED_BY_LIBRARY` holds frames
with entropy coding, which libzstd 1.5.7 made once.
"""

import base64
from itertools import groupby

__all__ = ["STORED_BY_LIBRARY", "frame", "library_frame"]

MAGIC = bytes.fromhex("28b52ffd")
LONGEST_RUN = 1 << 17


def blocks(raw):
    """(kind, stored bytes, decoded length): runs of eight and more as RLE blocks, the rest raw."""
    plain = b""
    for _, group in groupby(raw):
        run = bytes(group)
        if len(run) < 8:
            plain += run
            continue
        if plain:
            yield 0, plain, len(plain)
            plain = b""
        for start in range(0, len(run), LONGEST_RUN):
            yield 1, run[:1], min(LONGEST_RUN, len(run) - start)
    if plain:
        yield 0, plain, len(plain)


def header_of(size, content_size, checksum):
    """Magic and frame header, single segment where the size is stated."""
    flag = 4 if checksum else 0
    if not content_size:
        return MAGIC + bytes([flag, 0x40])  # a window of 2^18 bytes instead
    if size < 256:
        return MAGIC + bytes([0x20 | flag, size])
    if size < 65536 + 256:
        return MAGIC + bytes([0x60 | flag]) + (size - 256).to_bytes(2, "little")
    # Beyond the window that is allowed, the frame has a window descriptor of 2^20 bytes.
    return MAGIC + bytes([0x80 | flag, 0x50]) + size.to_bytes(4, "little")


def frame(raw, *, content_size=True, checksum=b""):
    """One frame of raw and RLE blocks that decodes to `raw`."""
    out = header_of(len(raw), content_size, checksum)
    cut = list(blocks(raw)) or [(0, b"", 0)]
    for number, (kind, stored, size) in enumerate(cut):
        last = number == len(cut) - 1
        out += (size << 3 | kind << 1 | last).to_bytes(3, "little") + stored
    return out + checksum


def library_frame(name):
    """The frame and the bytes that it decodes to."""
    import zstandard

    size, text = STORED_BY_LIBRARY[name]
    stored = base64.b85decode(text)
    raw = zstandard.ZstdDecompressor().decompress(stored)
    if len(raw) != size:
        raise ValueError(f"frame {name} decodes to {len(raw)} bytes, expected {size}")
    return stored, raw


# name -> (decoded length, frame in base 85)
STORED_BY_LIBRARY = {
    "english_level_19": (
        512,
        (
            "D77#BU;qK-1pwmDCl`>ZIp|Ns1|)*tk_btE+)3ri{#^f(1A_+8KR*;{u^W~Sp@ig$hW+pwR-E)4A3ZD{e`io"
            "Sf+@GPTI|SaZX!A<-qfxpbWw+@DI_ep;^8NXu2}5HCbh|0eKLQFobYji226gW)lqv*Xkt1PU`vUP)VM3HlB?"
            "Yjjd+OKYjvnkv16-QCJQiJ44>o7P^d1>DMU`(QcWh5t>T-52mrGtiyBPhXvCrW*@m;GgNKl82v;?OiUI"
        ),
    ),
    "codes_level_3": (
        3000,
        (
            "D77#BV7Ll}N&t$xEG13=aoYy`ck6#`u2P>1HKa@V0<8^o{2Z;9HdV+WQf3nMpueq%$lB<`*p!(`=^g%eMRtD"
            "*F3@OcNdZ3%GqYv+aiB7v>Y*mB3;+K;9y$U$0z?9q54_@@dT@4^VV4|Eekdaa@unw(B=*^YO?-e%#&Y^l`Hv"
            "K@$a<`Qbmm>*)%j;Msrvnxdy&kX)v%VHRJIgPXs(-Oefv_5{k0agveL7Lq97`jjt=LC9)0|CJaSFb#aiComx"
            "I{M6{TlJ;%x3-G_9)nxv-^hz8yq1ib%Q`n*Ls);w^H7mFTvGL6AHmclPR!U-#EM`mJ`JU<a2-FQs*T$u`e-R"
            "DXhcv+$aw=@m8J7H_TWy>_*)=D}-@u->KjJ8=EnUcp7EL2CX@pr<p*GDMhd&IgVBZDBj?4gPJ;7z7aq7CxBp"
            "*bM~Pj(aiK%<26ny3b3lb*mF%WPQ0LK)-$}<lBRY%OVPGu8}lOI(!w(V;hqgtS}!9Wjdaf-ZZrCa9LG8EQ=?"
            "`H8pOij1f9rdrnUkiba0ui_>ZCS>)@0+7TSG_C2a<J9Mrf{<bv9^~ln|$J(r{z1`s6RQ#000KJcHpM#+eG^z"
            "L1b{(NfZq|Ue<Zy(&Cn*x4PK=bk-*D?p<Z63Ym}Xr%^V#io$2})n-C{L;9g!SJNW@vb*#0($R!k4nYT&U*H<"
            "Z0Qsz^>~C{lqQtpu+!S?Q!Q+$oFil0~x1UH!m5)Ue{sD!}wbLsY9p<kteryYp;IkWW))O{yz#AsQ5xaq5sCw"
            "c<j8s0--Ab9aKyosL7I{0ZZJC0-_XI{@A*iVQEoh&G{!QVKitSgs|l?jg6<E>gG^A%4VC%7SzGZXZU*6e-@v"
            "wew7wr^M2AH`soJB})?VR*M2{qpPiNRnZ+W-H7qT{g4L28NtG!6>5U{<x{a!a#HFuV<1d~t<z__<9mdnH`b#"
            "QPAgHbQeq<G%W&_&WOgn|EhBX`1#<GJ*otAIn^f*e<+urXd9;E=q-Es$c^|?x(Y)J8t?@~Ns!VyW{&qs5T(9"
            "eXKc0<4A{*6bzQ7M%m?xhhWxX>pXVI!QM~fxX8nfX(%%gab&%kuJH|MOJS5Ig^>xScH+kp15x9|_tBpYbYbG"
            "1~2t!9Q2k}s^=q_rqJLmGp7Y0-#KUiWR@vIw}oh_+=9L5dG%w|J4o;v8MQabJ?3(3Xlur-*F(>^1oT-9aD_H"
            "AmFZ0IilNzP#+Bs8ABwt1fx&ixk>J#Sym>=HI%BOOvON$xw^QX&{;PtK@39Y3SNF&(qR=OysG#tQU2C@tc9j"
            "$cb1CP$0gL)EZi~4u7Ck?@o2^IiMCazMLn$=`qMB@<m_UHMyCEO_Ai*cjY$Hq@d6{Dc5RDVe4-09BDT4nW-#"
            "O)(TtSEJYNfMV8y7u(IbshwbTgeUhSy1%_uO{Pf)Zl4W!iM~3AGB9Fq4?W@efM>uq3^`X_^n+Mjk6rBzK`Rm"
            "(CM%&i1pL%PG>v(z6Wl(olgj+aVyPEYyRg;~==RJ3nCzz8Zly`szH+p<7XZjaPyuhA_#iO>gY}hz*mV-xSQu"
            "B7apXa+h>vfFWgrdhM5z9{*QJ&XLr?6g~-=q$=6+ZbV1}vlAT8%<%vXt(6={*j2KwO@9|A#r#c%;<lVySk83"
            "QgQ!6e8rYW7s4mKtiZ9zmdkuS-42s84w`Y19*<Ko%d3Ski&%<3Ll2h0F8ZPd}=A$7d_LLDjb}g5OfR}E}A)A"
            "8H>-eFrJ}%vs2=yOm-ww{`#s-xNR?cfi2p})_%05vUJ6r=?qC`1b-ex@J>gZ&Uu{OXdxBfGpsHJo8k&kt5P}"
            "Ii1)Ou!cdo4OHE{+o#3OHBcf;w550bwre!1Bp`OXbK*GwiO`<a?vwMr2D4i>%X`{L#%XSO0KrNdX6A{&+0!`"
            "x-;PI{Lr(BKMW=#@74h6Ucm!ot-lsXB}=4;Dk&PfO5HPa-;a^P^WNaN-K#~LUmoF5<U%Uug^<*{k2?HWvP#^"
            "|?V5blMbDbIY1EMq}gRM&|!^l*SjuLP-F?Id((Bo>!OENQcJHW|`r&gLO-w@3jJ60gB3I*#Lp7M2Iw9sINVO"
            "(PIQ#+G_G2{<6H9<!HD2-6z`jwM>`_A0DagDzT`koT9mO=)+!;afs8Wh&9b9(3ckVgr3e)tZt|c59^R`zw$C"
            "_L1B^N^2!Ynh&pkPY%wC`gwLW^0w`HNFvkJ&$LHcY`2VFs<7cXKj6s5G<f4Ke$FjxrKpY=XPTx12l#^bdiM)"
            "gzGnWA5?FURxLSB`9omqZx>r<TKE#I8i+Q4}qGpuDy%GcZOwLsv7)gkSWI|j1nWuo=0ZU-D>{mz+OQ=0|E!K"
            "3MhxD*Dcx#Y$y$=M<b}iX@t9`+Pqg*f@<y3zk-GlrJzqXne(2GCpkPU6$reRGaQpdu#XV60~Ov!g$z|$K~Ex"
            "qBa;?M|F=oBGQeU9x!Qmd}?M1eUiYK_m;K|cbrL9#Air^Q85ImoVOp1-NCqOw03Ilb-TT~AHRJMA=X^b_n$V"
            "FVrfqi19FPdF&s$UBt^jtgHO!b~o_tO-|ayMJ{6Lf!Q#y?IP4ZraezN>GUXOdf**=TTnQUE{FiJQ85l%)-Cf"
            "+6qzqOiFK5c7Bg+wFjw6A>5cYbe8I3Qw`F42qj~qL<I%Yd8^l+UwEaq(NW@H@}_q$4GW`riNnLolkJXyhUFm"
            "l{pLzvsHu0Ox$kl*5~nMF=EVLCBZeR_x4{uTevyYzi#6Fvf~i4WBI9i}Ua>vrr{c4q&t>r|;z!q7%;UnL!2$"
            "s(#^b3=n^Q=%*Egjtzu@e2t+B%ze`fn|SVdm`hIFSI6N`Hn=s9`<t1_SI_MJqJ6yhbom{Gy;ur*=RGGi>{cA"
            "u1dqPkF1+*ZJksApZ8KZ)+WI>pFUk}24!c>1(iR5QA-6}lODaYH=V@^vy8He@MFj~)Lrt~<IZORxLh1!8<s8"
            "=iu}5Isy6UHH4wbbDDDnMvp!ycR*zaEVunWP5#Ghb1JX$9Kt!fn44A+j2Hv*cSt#1BG~se`K1s(5n1ZWfx^n"
            "1kKQckoIOGveJau+B0NUGS#8}jc47%_<E=evTW9<!>d*7tUl9(0ss"
        ),
    ),
    "codes_level_1": (
        1200,
        (
            "D77#BV6X#~9smkUG!H)jkH!soN$$0`krS8`2`!Gd<(2IqnJl4=^=V7iK7@~GvP&M0(<TuTM*`o-#yCm*`|!u"
            "m^-KVD0&!PW)r92$;sD+NnA;F@^<94`D$uF43O}zI%$bfN?HHi<QBBm~N5l8eHp^VcXRufS9^vpq&a;Cw6Ny"
            "O4w+-`S8k^-zU0G#4#xdLFPIF2!E|1jYT&QmnKI6r(y|P&G$HZJfs|8LK!hW!4LsW(m8fqwzlVQ*l?i`&Hb~"
            "i=&E_m!6?l_Rk!%7`37U6n}HsI=m`gh{Od23utP)ib4&8ailCSX8Bq_pYZWa832)5UYqxFhj+(`C8{QNpm_h"
            "{u7u3_x!V1cx4B0162on4riZC$hCyo73}W7b%;G30$O7ilR4cwGYF96!!9zqGrdsb-LK@4U7b3*yBeMa|#Qu"
            "dg#K?<?4bGa0l+HeGrk$V)n5umGJ~MSR=Jlw*P`@9`~Tc34TW5S@qP87%z{OqpGzsm2JjBYliOU(i1%{*Rea"
            "oMOf*tKMCY)W-l9rSk8!^5Vt4lf$Ttw730eRl%YbS1E*@Br*_(7QL(00B<Vz5>TFk=5Ci|kUhs&VIE6Ydcwj"
            "}KPu5w8O38uGa`7wQenE=CM?W0<PU^MFe|JmD0#emGFZ~l4G8y==+0VC^EcA}rdMmRjx3T8aKx;<^&cqLjs~"
            "#U54{JqhA2-WRHV*j5txp>XX*t7ue*S6ebXn42@H?x~QATGrt3(j@eP@VzV~?`r>OL}g11cN&(XkmxyiDW8^"
            ")!)3YZ+-5Np3a6n{dx~C9SBj&0h8P)kDJ3(~>3<Q$iEhT&7aUSsl;)LoL$Kl;-p!lXr_;W_15VkW_*<IT-Ah"
            "<LGt(@pvFhNrU2FA1$czYj+;=tkBxJLwcaL6|d%F$6Kw`N=v9(jwKXxT2+17QV3c6AG6Z3F=nD07R%<t3G$&"
            "&i~5RKl60w+XS3DdH8C~)#6o297N5qeDu5+wG7WPDCmZIDI4G)g<~fhdwri4)EE$~-u*@;X-~_)t9?vv8I8s"
            "2ynb2!_m<3^>7qCZN@XQw{zkte&+K4G?-Ml7Kqrm-hVs07Ov2B$b7iyK~w&rnK)=mdJF;?ZE{g$>BG~}kK2u"
            "vGa*dIf=th*YN`@E;kdB(Hiuibd}CZ~W&@Z~Mddazh^&9UpsyHX2bQcCPiimiXATiFmhNs5tr;tAs@IqFv5E"
            "J2jPgX$J?Qeh84cjf7Idv=h7a@}bOzn__3FasU6^|1Ula3}=HoWde4lF{`5"
        ),
    ),
    "steps_level_9": (
        2800,
        (
            "D77#BVDJewHvr10z#2LrR<7ONdI*<&zd;L%1s8yPpQV5@r+E;&+3tOUycsj6v`>VUS~Mc)y=486_2vmo`?c|"
            "sq;J)B3XK7v0iFRJ*d6D44yNU}y@9IX{MJCo8QhJ5m^Om80PPA!z2-LsWv9s-jocIXmH^df=zd$<Oz$$2CKE"
            "RVXJa5OChjn4gX#SRZwKgRQ?nP}Yg;#vHv^33@_UP!wV=HKnA)cmxcf?>t^BUy<^<eM%Q6+;2#`G`Y$;u%^*"
            "$i$C|I9aL9zM?)@E5d>D{DjCSjM6y~MYYEGKc>05>D~eWcI@+)eh$2-ro?9y7DpZz7BylJ}6U3GgjM%|Yk}f"
            ";W)f1El>U?l4F`&h8O6*rdUF^H}?fZZA}O`Q9P7j=Xi0Ex_*_qt1bLmmnNszH#>rA=~&JfT{y<y9TCf_~x>k"
            "D{KJ#3_$NKJ8xm#lcObPEv#wSnMUs!ex4Dw47+9cj)CbIZo^PDjNdSXoOO4Wm=}V6fwqfLyZG&*>=t>qkh_I"
            "%7N}-HH;c7d^v0SrR@_);D<Hih?iFdT=zWFv72Q{AzVdywwN>6$jJEo1Wo9e1t-wD0?uGulo4Y;BeJ6X^yWV"
            "@&v2OJNucm^>QK<byoKqzlm8ea9U8>8Y_8jWcd0KzMGN(On5@Nisfr#KtiN^FE)TR_@Nlcsrm2sH+5fnSpG7"
            "T=wNNYuDPLyf8CD+Z}!ix*7nUJUH)E4yUxg(pf!hgQ*L&76)9m4OQ)_H#4;kph9d+;>}D=g>8a31|eZ8x57v"
            "t~9greN+gONPtznKYZxnv4s(X;};ugPHpamAx==mq0V1_LfAeMevoc6A)r5d!B-2G_B7r4Q0<}U2gLA5>Y2f"
            "G?F+Mptcbni!t#KNeh`9$OZq<vJWGJY3+4t9huG{!#L))QRf<K1|ZBmwQ2a4aby@le(`k+9Aj~P^(w2Uz&eV"
            "oq3G>I*Qvr@g6vbimB?}_w@JBK)bCJ*&bu4br%qrOf%Yad<NXeT(Ldy^X=@*RUs7`qbXUTgQtwG=>kxM&NH?"
            "7QC~ilSZq%EGwHeX92-S*w!yxwydE1qZ==Y&fw}7@GK`Mwjg}dp5Jm_~IRnNH%2-7C`{$sbFu>1I#Pj3<Iya"
            "#JJIUvY657u|={6X(Jex?(4DV!E(DPKNwve}Nyj^v1qRGLT(2MKgoo_V}k2i!QqT!YI!E6b4b3*T5~ck&ctL"
            "qT?`B%d<7)RaYKIj?O`a1#M%A>`IX=u3^R1jLe19f`(}#BQX(jMN+hpY0lbDAb0wCiLV%aG!9(e=yyr#e2-w"
            "W5IXqrlZ7hV#k@_H+Em(#B9t~<H2y4e)F0P++!RKW@|PwH_+%UHpZf6D?OYhwiFOPL-i8|X3}US1AIj8BC93"
            ">cMwkh$TC<Cdzqa>(KpEEs=Ft)jJmVPW})aSvsW!ziYPx}=~Qi>GIbJjCUxUbbsK@eoj^^*2IG1CgAMyIW=k"
            "%nRJWuCj&wC7L_2Dm2CWy}Fbr+B8~YFv8yd6<V5ajrP^SS6`cIkrjJ@ZHe>a>*&mXi+r^s<v#|dH$>c)W1ZN"
            "^*yl+}0*SH*9jE~CS4b&Kh9+nm|Z+@)<UYA+CFH6>daI}ONFdVIjwKCjKbX3}FNKt?h)nUcq%JVfmvZT~=Xk"
            "2!z!Sx4PnI&1^fTvfc~H4P}o81oA{v#9$jhy$~^8cm+xa_m-UFic+K;VolUK-Fm>j3)Mz9WFC75*UviTF3(X"
            "P_@^fyROU?#WV_?<z=iHuS&G4w^R982~LkH;XE&Q5@0+|YeHd5Z|`vAyH(pj=^6eU!<k)pG7DU%K<Yp^T*3+"
            "S$zVAz<7qM-ujj1z4XN8?ngU0|v2X-`e&Eh+a9&&UmbcX&IDxjMu<i456SkAIP4>V<-UhPf9&p}qXB>a#Vqq"
            "GN&dM|vsjpZHt(_n;sw$U~U?lVm3Wkf=G#=KPifqY&cerz;8h&Kz8p2-0_6s6>$kK&mOjqSOJpZvYpBl@tjf"
            "ZYJrslxOaPI7eh}jf5P26WTT?WZx^!%mNYgOLT!dSGfQo&O;9R+POM3?Cp$(@T#@eni*karKZcWAmx?HZNtR"
            "XIkbU8sGf=~Y%%^}|hs`BV~@db6k*8xiPE20TQifq-Bi&I6z)Ir*-LAH}(bA1|tOA~qx9u^}EN^yWcg1M;+="
            "5gx(HaxBL4=sFr4=j08jID<#G>EJb1Mianqo+fkXF>h|WvKJn6Y2qxEz7i3r5dMF^7!bA;)CUk4qYo530voJ"
            "|D^nF>rM6<aa;YFtawuw*O@%R~M{!Xe*nk8)"
        ),
    ),
}
